"""Windows: plain texts by group, cut into pieces of so many tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import (
    position_limit,
    tokenizer_of,
)
from culnig_tl.models.prompts import check_lengths


@dataclass(frozen=True)
class Window:
    """Some tokens of one group's text, behind those that begin a text.

    Attributes:
        group: its number.
        name: where it is, for messages.
        begin: the tokens that begin a text, if the tokenizer has any.
        text: those of the text itself.
    """

    group: int
    name: str
    begin: list[int]
    text: list[int]

    @property
    def tokens(self) -> list[int]:
        """What is run through the model."""
        return self.begin + self.text


def cut_windows(
    model: HookedModel, texts: Mapping[str, Sequence[str]], context: int
) -> list[Window]:
    """The windows of each group's texts, in order (`activation_shares`)."""
    check_count("context", context, least=1, unit="tokens")
    if not texts:
        raise CulnigError("no texts: give one group or more")
    tokenizer = tokenizer_of(model)
    begin = [t for t in tokenizer("")["input_ids"] if t == tokenizer.bos_token_id]
    windows = []
    for group, (name, parts) in enumerate(texts.items()):
        lines = [f"{part}\n" for part in parts if part.strip()]
        if not lines:
            raise CulnigError(f"group {name!r} has no text: give some, or leave it out")
        tokenised = tokenizer(lines, add_special_tokens=False)["input_ids"]
        flat = [token for line in tokenised for token in line]
        if not flat:
            raise CulnigError(f"group {name!r} has no token: give it a text, or leave it out")
        longest = min(context, len(flat)) + len(begin)
        check_lengths(position_limit(model), [(f"a window of context {context}", longest)])
        windows += [
            Window(
                group=group,
                name=f"group {name!r}, token {start}",
                begin=begin,
                text=flat[start : start + context],
            )
            for start in range(0, len(flat), context)
        ]
    return windows
