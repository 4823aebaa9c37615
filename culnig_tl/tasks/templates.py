"""Prompt templates: reading them from a file, filling them, finding their option labels."""

import json
import logging
import re
import string
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json
from culnig_tl.tasks.instances import Instance, Split, stable_random

CONTROL_CLOZE = "Answer:"
_log = logging.getLogger(__name__)
_KEYS = ("user", "system", "cloze", "control", "prefill")


@dataclass(frozen=True)
class Item:
    """One question before templates: its fields by name, its options and the right one.

    `fields` fill the templates' placeholders, beside `{option_a}`, `{option_b}`, ... and
    `{options}` (a line an option, with its label) that the options fill in their shuffled order.
    `labels` belong to the places in that order; None: the template decides. `credits` belong to
    the options, and are what `Instance` says they are.

    `question` is the question as a person reads it; the empty string takes the field `question`,
    or the cloze text where there is none. `question_id` is the same for all groups that are
    asked the same question; the empty string where a task does not know it.
    """

    id: str
    group: str | None
    fields: Mapping[str, str]
    options: tuple[str, ...]
    answer: int
    shuffle: bool = True
    labels: tuple[str, ...] | None = None
    credits: tuple[float, ...] | None = None
    question: str = ""
    question_id: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.answer < len(self.options):
            raise CulnigError(
                f"item {self.id}: answer {self.answer} is not among its {len(self.options)} "
                "options; give the index of one"
            )
        for what, values in (("labels", self.labels), ("credits", self.credits)):
            if values is not None and len(values) != len(self.options):
                raise CulnigError(
                    f"item {self.id}: {len(values)} {what} for {len(self.options)} options; give "
                    "one an option"
                )


@dataclass(frozen=True)
class Template:
    """`user` (and `system`, `prefill`) for the letter format, `cloze` for the cloze format.

    `control` is the user's turn of a control instance; empty: every line of `user` that asks the
    question is left out.
    """

    user: str
    cloze: str
    system: str = ""
    control: str = ""
    prefill: str = ""


def read_templates(path: Path, task: str, default: Template) -> list[Template]:
    """Templates for `task` from a JSON file: a list of `{"user": ...}`, or a mapping task -> list.

    An entry without `cloze` takes that of `default`; its other parts belong to its own wording.

    Raises:
        CulnigError: the file is no such JSON, has nothing for the task, or an entry has an
            unknown key, a value that is not text, or no `user`.
    """
    content = read_json(path)
    if isinstance(content, dict):
        if task not in content:
            raise CulnigError(
                f"{path} has no templates for task {task!r}: it has {', '.join(sorted(content))}"
            )
        content = content[task]
    if not isinstance(content, list) or not content:
        raise CulnigError(
            f'{path}: templates for {task!r} must be a list of {{"user": ...}} with one or more'
        )
    templates = []
    for number, entry in enumerate(content):
        if not isinstance(entry, dict) or not isinstance(entry.get("user"), str):
            raise CulnigError(f"{path}: template {number} of {task!r} has no text under 'user'")
        unknown = set(entry) - set(_KEYS)
        if unknown:
            raise CulnigError(
                f"{path}: template {number} of {task!r} has unknown keys {sorted(unknown)}; "
                f"known are {', '.join(_KEYS)}"
            )
        wrong = [key for key, value in entry.items() if not isinstance(value, str)]
        if wrong:
            raise CulnigError(
                f"{path}: template {number} of {task!r} has no text under {wrong[0]!r}; "
                "give text or leave it out"
            )
        templates.append(Template(**{"cloze": default.cloze, **entry}))
    return templates


def render(
    items: Sequence[Item], templates: Sequence[Template], task: str, *, split: Split
) -> list[Instance]:
    """Every item with every template, options shuffled by a stable hash of item and template.

    Raises:
        CulnigError: a template asks for a field that the task does not have.
    """
    asked = [question_of(item, templates[0], task) for item in items]
    return [
        _instance(item, template, number, task=task, split=split, asks=asks)
        for number, template in enumerate(templates)
        for item, asks in zip(items, asked, strict=True)
    ]


def question_of(item: Item, template: Template, task: str) -> str:
    """Which question an item asks: its `question_id`, or its cloze prompt.

    Raises:
        CulnigError: the template asks for a field that the task does not have.
    """
    if item.question_id:
        return item.question_id
    fields = _fields(item, item.options) | {"options": "\n".join(item.options)}
    return _fill(template.cloze, fields, task, number=0)


def balanced_limit(
    items: Sequence[Item], limit: int | None, questions: Sequence[Hashable]
) -> list[Item]:
    """At most `limit` items: a random sample by stable hash, as even over groups as it can be.

    Different questions come first: a further item of one only when there are no more. A smaller
    limit gives a subset of a larger one's items; the order stays that of `items`.

    Args:
        questions: which question each item asks.
    """
    if limit is None or limit >= len(items):
        return list(items)
    if limit < 1:
        raise CulnigError(f"limit {limit} leaves no instance: give 1 or more")
    draws = [stable_random("limit", item.id).random() for item in items]
    # The turn of an item: 0 for the first of its question, 1 for the second, ...
    turns = Counter[Hashable]()
    ranks = Counter[Hashable]()
    order = []
    for row in sorted(range(len(items)), key=lambda row: (draws[row], row)):
        group = items[row].group
        turn = turns[group, questions[row]]
        turns[group, questions[row]] += 1
        order.append((turn, ranks[turn, group], draws[row], row))
        ranks[turn, group] += 1
    keep = {row for *_, row in sorted(order)[:limit]}
    return [item for row, item in enumerate(items) if row in keep]


def without_twins(items: Sequence[Item], task: str) -> list[Item]:
    """The items whose options are all different; published benchmarks hold a few others.

    Two equal options, one right and one wrong, cannot be told apart. The log says how many items
    are left out.
    """
    kept = [i for i in items if len({o.strip().lower() for o in i.options}) == len(i.options)]
    if len(kept) < len(items):
        _log.warning(
            "%s: %d of %d items have an option twice and are left out",
            task,
            len(items) - len(kept),
            len(items),
        )
    return kept


def _fields(item: Item, options: Sequence[str]) -> dict[str, str]:
    """What fills a template's placeholders, but for the list of options with their labels."""
    letters = string.ascii_lowercase[: len(options)]
    return dict(item.fields) | {f"option_{x}": o for x, o in zip(letters, options, strict=True)}


def _instance(
    item: Item, template: Template, number: int, *, task: str, split: Split, asks: str
) -> Instance:
    order = list(range(len(item.options)))
    if item.shuffle:
        stable_random(task, item.id, number).shuffle(order)
    options = tuple(item.options[i] for i in order)
    labels = item.labels or _labels(template.user, len(options))
    fields = _fields(item, options)
    fields["options"] = "\n".join(f"{x}. {o}" for x, o in zip(labels, options, strict=True))
    control = split == "control"
    user = template.user
    if control:
        user = template.control or _without_question(template.user, task, number)
    cloze = CONTROL_CLOZE if control else _fill(template.cloze, fields, task, number=number)
    return Instance(
        id=item.id if number == 0 else f"{item.id}#{number}",
        task=task,
        split=split,
        group=item.group,
        template=number,
        options=options,
        answer=order.index(item.answer),
        cloze=cloze,
        user=_fill(user, fields, task, number=number),
        labels=labels,
        system=_fill(template.system, fields, task, number=number),
        prefill=template.prefill,
        credits=None if item.credits is None else tuple(item.credits[i] for i in order),
        # A control asks nothing, whatever the item's question is.
        question="" if control else item.question or item.fields.get("question") or cloze,
        item=item.id,
        question_id="" if control else item.question_id,
        asks=asks,
    )


def _fill(text: str, fields: Mapping[str, str], task: str, *, number: int) -> str:
    try:
        parts = [part for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError as error:
        raise CulnigError(
            f"template {number} of task {task!r}: {error}; write {{{{ and }}}} for plain braces"
        ) from error
    odd = [name for _, name, style, turn in parts if style or turn or not str(name).isidentifier()]
    if odd:
        raise CulnigError(
            f"template {number} of task {task!r}: {{{odd[0]}}} must be a plain field name; write "
            "{{ and }} for plain braces"
        )
    names = {str(name) for _, name, _, _ in parts}
    missing = sorted(names - set(fields))
    if missing:
        raise CulnigError(
            f"template {number} of task {task!r} asks for {{{missing[0]}}}, which is not a field; "
            f"it has {json.dumps(sorted(fields))}"
        )
    return text.format_map(fields)


def _without_question(user: str, task: str, number: int) -> str:
    asks = re.compile(r"\{(question|passage|prompt)\}")
    lines = [line for line in user.split("\n") if not asks.search(line)]
    if not any("{option_a}" in line or "{options}" in line for line in lines):
        raise CulnigError(
            f"template {number} of task {task!r} has its question and options on one line, so no "
            "control can be made of it: put them on lines of their own or give a 'control' text"
        )
    return "\n".join(lines).strip("\n")


def _labels(user: str, count: int) -> tuple[str, ...]:
    """The labels before `{option_a}`: 1, 2, ... where the template writes `1. {option_a}`."""
    digits = re.search(r"\b1[.):]\s*\{option_a\}", user) is not None
    return tuple(str(i + 1) if digits else string.ascii_uppercase[i] for i in range(count))
