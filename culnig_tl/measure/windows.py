"""Windows: plain texts by group, cut into pieces of so many tokens."""

from collections.abc import Mapping, Sequence

from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import (
    position_limit,
    tokenizer_of,
)
from culnig_tl.models.prompts import check_lengths


class Window:
    """Some tokens of one group's text behind those that begin a text."""

    def __init__(self, group: int, name: str, begin: list[int], text: list[int]) -> None:
        self.group, self.name, self.text, self.tokens = group, name, text, begin + text


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
            Window(group, f"group {name!r}, token {start}", begin, flat[start : start + context])
            for start in range(0, len(flat), context)
        ]
    return windows
