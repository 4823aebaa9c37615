"""From an instance to tokens: the prompt, and each option's own tokens after it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.models.chat import MARKS_BEGIN, chat_text, special_marks, with_system
from culnig_tl.models.choices import FORMATS, AnswerFormat, HookedModel
from culnig_tl.models.description import position_limit, tokenizer_of
from culnig_tl.tasks.instances import Instance

_AT_ONCE = 1000  # instances that are tokenised together


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
    def longest(self) -> int:
        """Tokens of the prompt and its longest option, without the last, which nothing follows."""
        return len(self.tokens) + max(map(len, self.options)) - 1

    @property
    def sequence(self) -> tuple[int, ...]:
        """What runs through the model to read P(y|x): the prompt, and y without its last token."""
        return self.tokens + self.label[:-1]

    def texts(self, tokenizer: Any) -> list[str]:
        """The text of each token of `sequence`."""
        return [tokenizer.decode([token]) for token in self.sequence]


def resolve_format(tokenizer: Any, answer_format: AnswerFormat) -> Literal["cloze", "letter"]:
    """`auto` is `letter` for a tokenizer with a chat template, otherwise `cloze`.

    Raises:
        CulnigError: an unknown format.
    """
    check_choice("answer format", answer_format, FORMATS)
    if answer_format != "auto":
        return answer_format
    return "letter" if getattr(tokenizer, "chat_template", None) else "cloze"


def model_prompts(
    model: HookedModel, instances: Sequence[Instance], *, answer_format: AnswerFormat = "auto"
) -> list[Prompt]:
    """`make_prompts` for a hooked model, all of them within its positions.

    Raises:
        CulnigError: as `make_prompts`, and for a prompt that is longer than the model's positions.
    """
    prompts = make_prompts(tokenizer_of(model), instances, answer_format=answer_format)
    check_lengths(
        position_limit(model), ((f"instance {p.instance.id}", p.longest) for p in prompts)
    )
    return prompts


def check_lengths(limit: int | None, lengths: Iterable[tuple[str, int]]) -> None:
    """Refuse what is longer than the model's positions, of which None has no limit.

    Args:
        lengths: in tokens, each behind what names it; two may have one name, as a question and
            its control.

    Raises:
        CulnigError: the longest is too long; the message names it, its length and the limit.
    """
    name, length = max(lengths, key=lambda named: named[1], default=("", 0))
    if limit is not None and length > limit:
        raise CulnigError(
            f"{name}: {length} tokens, and the model has {limit} positions: leave it out, "
            "shorten it, or take a model with more"
        )


def make_prompts(
    tokenizer: Any, instances: Sequence[Instance], *, answer_format: AnswerFormat = "auto"
) -> list[Prompt]:
    """Tokenise instances.

    - `letter`: the chat template is applied (`chat_text`), then the instance's prefill; y is the
      option's label. Without a chat template the system's text stands before the user's.
    - `cloze`: `Question: ...\\nAnswer:`; y is the option's own text behind a space.

    An option's tokens are the difference between the tokens of prompt + option and of the prompt.

    Raises:
        CulnigError: no instances, an option that does not split cleanly from its prompt, an empty
            one, or one with an unknown token; a label with which another begins; text that holds
            one of the tokenizer's special tokens; or as `chat_text`. The message names the
            instance.
    """
    if not instances:
        raise CulnigError("no instances: load a task first")
    answer_format = resolve_format(tokenizer, answer_format)
    letter = answer_format == "letter"
    check_texts(tokenizer, ((f"instance {i.id}", _told(i, letter)) for i in instances))
    make = _letter_text if letter else _cloze_text
    prompts = []
    for start in range(0, len(instances), _AT_ONCE):
        part = instances[start : start + _AT_ONCE]
        prompts += _tokenise(tokenizer, part, [make(tokenizer, instance) for instance in part])
    for prompt in prompts if letter else []:
        _check_labels(prompt)
    return prompts


def check_texts(tokenizer: Any, texts: Iterable[tuple[str, str]]) -> None:
    """Refuse a text that holds a special token, which would end its turn or begin another.

    Args:
        texts: each behind what names it in the message.

    Raises:
        CulnigError: one does; the message has its name and the token.
    """
    marks: list[str] | None = None
    for where, text in texts:
        if not any(begin in text for begin in MARKS_BEGIN):
            continue
        if marks is None:
            marks = special_marks(tokenizer)
        mark = next((mark for mark in marks if mark in text), None)
        if mark:
            raise CulnigError(
                f"{where}: its text holds the special token {mark!r}, which the model would take "
                "for one: leave the instance out, or write it otherwise"
            )


def chat_tokens(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a `chat_text`: BOS once, where the tokenizer's texts begin with it."""
    return list(tokenizer(_begun(tokenizer, text), add_special_tokens=False)["input_ids"])


def _begun(tokenizer: Any, text: str) -> str:
    """`text` with BOS where the tokenizer begins every text with it and the template does not."""
    bos = getattr(tokenizer, "bos_token", None)
    if not bos or text.lstrip().startswith(bos):
        return text
    adds = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    return bos + text if adds else text


def _told(instance: Instance, letter: bool) -> str:
    told = (
        (instance.system, instance.user, instance.prefill, *instance.labels)
        if letter
        else (instance.cloze, *instance.options)
    )
    return "\n".join(told)


def _check_labels(prompt: Prompt) -> None:
    labels = dict(zip(prompt.options, prompt.instance.labels, strict=True))
    for tokens, label in labels.items():
        for other, text in labels.items():
            if other != tokens and other[: len(tokens)] == tokens:
                raise CulnigError(
                    f"instance {prompt.instance.id}: label {text!r} begins with the tokens of "
                    f"label {label!r}, so that one's probability holds the other's: use letters"
                )


def _cloze_text(tokenizer: Any, instance: Instance) -> tuple[str, list[str], bool]:
    return instance.cloze, [f" {option}" for option in instance.options], True


def _letter_text(tokenizer: Any, instance: Instance) -> tuple[str, list[str], bool]:
    if not getattr(tokenizer, "chat_template", None):
        gap = "" if instance.prefill else " "
        told = with_system(instance.system, instance.user)
        text = f"{told.rstrip()} {instance.prefill}".rstrip()
        return text, [f"{gap}{label}" for label in instance.labels], True
    where = f"instance {instance.id}"
    text = chat_text(tokenizer, instance.user, system=instance.system, where=where)
    # Chat text holds BOS already, or is given it.
    return _begun(tokenizer, text) + instance.prefill, list(instance.labels), False


def _tokenise(
    tokenizer: Any, instances: Sequence[Instance], told: Sequence[tuple[str, list[str], bool]]
) -> list[Prompt]:
    for instance, (_, options, _) in zip(instances, told, strict=True):
        if not all(option.strip() for option in options):
            raise CulnigError(f"instance {instance.id}: an option is empty; give it a text")
    # Each text once: instances of one question share most of theirs.
    texts = list(dict.fromkeys(text + end for text, options, _ in told for end in ("", *options)))
    encoded = tokenizer(texts, add_special_tokens=told[0][2])["input_ids"]
    tokens = dict(zip(texts, map(tuple, encoded), strict=True))
    return [
        _prompt(tokenizer, instance, text=text, options=options, known=tokens)
        for instance, (text, options, _) in zip(instances, told, strict=True)
    ]


def _prompt(
    tokenizer: Any,
    instance: Instance,
    *,
    text: str,
    options: Sequence[str],
    known: Mapping[str, tuple[int, ...]],
) -> Prompt:
    base, labels = known[text], []
    for option in options:
        tokens = known[text + option]
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
        labels.append(label)
    if len(set(labels)) < len(labels):
        raise CulnigError(
            f"instance {instance.id}: two of its labels {options} have the same tokens; change one"
        )
    return Prompt(instance, base, tuple(labels))
