"""From an instance to tokens: the prompt, and each option's own tokens after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.instances import Instance

FORMATS = ("auto", "cloze", "letter")


@dataclass(frozen=True)
class Prompt:
    """An instance as token ids.

    Attributes:
        instance: where it comes from.
        tokens: the prompt, BOS included where the tokenizer begins with one.
        options: for each option the tokens that follow the prompt when it is the answer.
    """

    instance: Instance
    tokens: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]

    @property
    def label(self) -> tuple[int, ...]:
        """The tokens y of the right answer."""
        return self.options[self.instance.answer]

    @property
    def sequence(self) -> tuple[int, ...]:
        """What runs through the model to read P(y|x): the prompt, and y without its last token."""
        return self.tokens + self.label[:-1]

    def texts(self, tokenizer: Any) -> list[str]:
        """The text of each token of `sequence`."""
        return [tokenizer.decode([token]) for token in self.sequence]


def resolve_format(tokenizer: Any, answer_format: str) -> str:
    """`auto` is `letter` for a tokenizer with a chat template, otherwise `cloze`.

    Raises:
        CulnigError: an unknown format.
    """
    check_choice("answer format", answer_format, FORMATS)
    if answer_format != "auto":
        return answer_format
    return "letter" if getattr(tokenizer, "chat_template", None) else "cloze"


def make_prompts(
    tokenizer: Any, instances: Sequence[Instance], answer_format: str = "auto"
) -> list[Prompt]:
    """Tokenise instances.

    - `letter`: the chat template is applied (`enable_thinking=False`), then the instance's
      prefill; y is the option's label. Without a chat template the user's text stands alone.
    - `cloze`: `Question: ...\\nAnswer:`; y is the option's own text behind a space.

    An option's tokens are the difference between the tokens of prompt + option and of the prompt.

    Raises:
        CulnigError: no instances, an option that does not split cleanly from its prompt, or one
            with an unknown token; the message names the instance.
    """
    if not instances:
        raise CulnigError("no instances: load a task first")
    answer_format = resolve_format(tokenizer, answer_format)
    make = _letter_text if answer_format == "letter" else _cloze_text
    return [_tokenise(tokenizer, instance, *make(tokenizer, instance)) for instance in instances]


def _cloze_text(tokenizer: Any, instance: Instance) -> tuple[str, list[str], bool]:
    return instance.cloze, [f" {option}" for option in instance.options], True


def _letter_text(tokenizer: Any, instance: Instance) -> tuple[str, list[str], bool]:
    if not getattr(tokenizer, "chat_template", None):
        gap = "" if instance.prefill else " "
        text = f"{instance.user.rstrip()} {instance.prefill}".rstrip()
        return text, [f"{gap}{label}" for label in instance.labels], True
    turns = [{"role": "user", "content": instance.user}]
    if instance.system:
        turns.insert(0, {"role": "system", "content": instance.system})
    text = tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    # Chat text holds BOS already.
    return text + instance.prefill, list(instance.labels), False


def _tokenise(
    tokenizer: Any, instance: Instance, text: str, options: list[str], special: bool
) -> Prompt:
    texts = [text, *(text + option for option in options)]
    base, *joint = tokenizer(texts, add_special_tokens=special)["input_ids"]
    labels = []
    for option, tokens in zip(options, joint, strict=True):
        label = tokens[len(base) :]
        if tokens[: len(base)] != base or not label:
            raise CulnigError(
                f"instance {instance.id}: the label {option!r} does not split from its prompt "
                f"(...{text[-20:]!r}) with this tokenizer; end the prompt at a token boundary"
            )
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in label:
            raise CulnigError(
                f"instance {instance.id}: the label {option!r} maps to an unknown token; "
                "use another label or tokenizer"
            )
        labels.append(tuple(label))
    if len(set(labels)) < len(labels):
        raise CulnigError(
            f"instance {instance.id}: two of its labels {options} have the same tokens; change one"
        )
    return Prompt(instance, tuple(base), tuple(labels))
