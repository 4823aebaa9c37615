"""One multiple-choice item, and randomness that does not depend on order."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from culnig_tl.errors import CulnigError
from culnig_tl.provenance import sha256_of
from culnig_tl.tasks.countries import country_in_text


def stable_random(*key: object) -> random.Random:
    """A generator seeded by a hash of `key`: the same on every machine and in any order."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode("utf-8")).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


Split = Literal["neuron", "control", "test", "train"]


@dataclass(frozen=True)
class Instance:
    """One question with its options, rendered as text for both answer formats.

    Attributes:
        id: unique within its task, split and template.
        task: the task's name, as `load_task` knows it.
        split: `neuron`, `control`, `test` or `train`.
        group: what the question is about: a country of `COUNTRIES`, or another that a benchmark or
            a file asks about; None for a task without groups.
        template: index of the prompt template.
        options: the options' texts, all different.
        answer: index of the right option.
        cloze: the text before a cloze answer, up to and with `Answer:`.
        user: the user's turn for the letter format.
        labels: the options' labels in `user`, such as A, B, C, D.
        system: the system turn for the letter format, or the empty string.
        prefill: text that begins the model's turn in the letter format, or the empty string.
        credits: what each option scores, from 0 to 1; None: 1 for the answer, 0 for the others.
        question: the question as a person reads it, with the group in it, without options or
            template; the empty string where none is asked (a control).
        item: the id of the item, the same for all templates; the empty string takes `id`.
        question_id: which question is asked, the same for all groups; the empty string: known
            only by its text (`same_question`).
        asks: which question is asked, whatever the template and the options: `question_id`, or the
            cloze prompt of the first one; the empty string takes the item (`question_key`).

    Raises:
        CulnigError: fewer than two options, duplicate options, the answer is not among them, or
            labels or credits that do not go with the options.

    Example:
        >>> instance = Instance(
        ...     id="dish/Spain",
        ...     task="dishes",
        ...     split="test",
        ...     group="Spain",
        ...     template=0,
        ...     options=("ramen", "paella"),
        ...     answer=1,
        ...     cloze="A dish from Spain:",
        ...     user="Which dish is from Spain? A. ramen B. paella",
        ...     labels=("A", "B"),
        ... )
        >>> instance.answer_text
        'paella'
    """

    id: str
    task: str
    split: Split
    group: str | None
    template: int
    options: tuple[str, ...]
    answer: int
    cloze: str
    user: str
    labels: tuple[str, ...] = ("A", "B", "C", "D")
    system: str = ""
    prefill: str = ""
    credits: tuple[float, ...] | None = None
    question: str = ""
    item: str = ""
    question_id: str = ""
    asks: str = ""

    def __post_init__(self) -> None:
        folded = [option.strip().lower() for option in self.options]
        if len(self.options) < 2:
            raise CulnigError(f"instance {self.id}: {len(self.options)} option; give at least two")
        if len(set(folded)) < len(folded):
            raise CulnigError(
                f"instance {self.id}: duplicate options {list(self.options)}; make them different"
            )
        if not 0 <= self.answer < len(self.options):
            raise CulnigError(
                f"instance {self.id}: answer {self.answer} is not among its {len(self.options)} "
                "options; correct the row"
            )
        if len(self.labels) != len(self.options):
            raise CulnigError(
                f"instance {self.id}: {len(self.labels)} labels for {len(self.options)} options; "
                "give one label an option"
            )
        if self.credits is not None and (
            len(self.credits) != len(self.options) or not all(0 <= c <= 1 for c in self.credits)
        ):
            raise CulnigError(
                f"instance {self.id}: credits {self.credits} for {len(self.options)} options; "
                "give one from 0 to 1 an option"
            )

    @property
    def item_id(self) -> str:
        """`item`, or `id` where it is not given: of an instance built by hand."""
        return self.item or self.id

    @property
    def question_key(self) -> str:
        """Which question about which group this is: all its templates and instances have one.
        A control has the key of the question that it leaves out.
        """
        return self.topic if self.group is None else f"{self.topic}/{self.group}"

    @property
    def topic(self) -> str:
        """Which question this is, whatever the group; a text, which has spaces, is known by its
        hash.

        Evidence is counted in these: instances of one question say the same again, and so do its
        forms about several groups.
        """
        asked = self.asks or self.question_id or self.item_id
        if any(character.isspace() for character in asked):
            asked = hashlib.sha256(asked.encode("utf-8")).hexdigest()[:12]
        return asked

    @property
    def half(self) -> int:
        """0 or 1: the half of the questions to which this one belongs, by a stable hash."""
        return stable_random("half", self.topic).randrange(2)

    @property
    def chance(self) -> float:
        """What a guess scores: 1 of the number of options, or the mean of the credits."""
        if self.credits is not None:
            return sum(self.credits) / len(self.credits)
        return 1 / len(self.options)

    @property
    def same_question(self) -> tuple[str, str, int]:
        """What instances that ask the same of different groups share: task, question, template.

        Where there is no `question_id` the question is known by its prompt in the first template
        (`asks`, or `cloze`) without the group's name.
        """
        asked = self.question_id or self.asks or self.cloze
        if not self.question_id and self.group is not None:
            asked = asked.replace(country_in_text(self.group), "{country}")
        return self.task, asked, self.template

    @property
    def answer_text(self) -> str:
        """The right option's own text."""
        return self.options[self.answer]


def one_of_each(instances: Sequence[Instance]) -> list[Instance]:
    """The first instance of each question, in their order."""
    first: dict[str, Instance] = {}
    for instance in instances:
        first.setdefault(instance.question_key, instance)
    return list(first.values())


def content_hash(instances: list[Instance]) -> str:
    """SHA-256 of everything the model is told and asked, in the instances' order.

    Credits of None are left out, and so are `question`, `item`, `question_id` and `asks`, which say
    in other words what the rest does: what was saved before there were any keeps its hash. For
    the same reason the group goes by the name that it had.
    """
    contents = [vars(instance).copy() for instance in instances]
    for content in contents:
        content["country"] = content.pop("group")
        for field in ("question", "item", "question_id", "asks"):
            del content[field]
        if content["credits"] is None:
            del content["credits"]
    return sha256_of(contents)
