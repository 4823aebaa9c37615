"""Questions of your own: a file with a question, a group and an answer a row, made into splits."""

import html
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.everyday import content_words
from culnig_tl.tasks.instances import Instance, Split, stable_random
from culnig_tl.tasks.own_names import TEMPLATE as NAMES_TEMPLATE
from culnig_tl.tasks.own_names import load_items as load_names
from culnig_tl.tasks.question_rows import (
    HALVES,
    Row,
    check_groups,
    given_file,
    good_rows,
    names_of,
    questions_file,
)
from culnig_tl.tasks.templates import Item, Template, render

WRONG = 3  # wrong options that are drawn, where there are as many
TEMPLATE = Template(
    user=(
        "Pick the option that answers the question best and reply with its letter alone.\n"
        "Question: {question}\n{options}"
    ),
    cloze="Question: {question}\nAnswer:",
)
SPLITS: tuple[Split, ...] = ("neuron", "control", "test")


@dataclass(frozen=True, repr=False)
class Questions:
    """The questions of a file, as instances.

    Attributes:
        file: where they come from.
        groups: in the order in which they first come.
        neuron: on which neurons are found.
        control: the same ones without their question.
        test: what is asked; no question of `neuron` is among them.
        drawn: of how many questions the wrong options were drawn from others' answers.
        split_by: `split`, `category` or `hash`: how the two splits were told apart.
    """

    file: Path
    groups: tuple[str, ...]
    neuron: tuple[Instance, ...]
    control: tuple[Instance, ...]
    test: tuple[Instance, ...]
    drawn: int
    split_by: str

    @property
    def names(self) -> tuple[Instance, ...]:
        """Passages whose answer is a group's name: what the filter of names is found on."""
        items = load_names("neuron", None, self.file)
        return tuple(render(items, [NAMES_TEMPLATE], "own-names", split="neuron"))

    def counts(self) -> pd.DataFrame:
        """Questions by group and split."""
        rows = {
            split: Counter(one.group for one in part)
            for split, part in (("neuron", self.neuron), ("test", self.test))
        }
        return pd.DataFrame(rows, index=list(self.groups)).fillna(0).astype(int)

    def __repr__(self) -> str:
        return (
            f"{len(self.neuron) + len(self.test)} questions about {len(self.groups)} groups in "
            f"{self.file.name}: {len(self.neuron)} to find neurons, {len(self.test)} to test"
        )

    def _repr_html_(self) -> str:
        table = self.counts().rename_axis("group").to_html()
        return f"<p>{html.escape(repr(self))}</p>{table}"


def load_questions(path: str | Path) -> Questions:
    """Questions of your own, from a CSV, JSON lines or Parquet file, as instances.

    `religions` and `elements` are files that come with the package.

    A row is a question about a group (`question`, `group`, `answer`): a profession, a religion, a
    club. The question names its group, or holds `{group}`. Optional columns:

    - `wrong_1`, `wrong_2`, ... or `wrong` with `|` between: wrong options. Where there are none,
      up to three are drawn from other groups' answers: to the same question first, then to those
      of its category, then to any. None shares a word with the answer or with another.
    - `split`: `neuron` or `test`. Without it categories are parted into two halves, as the paper
      does with BLEnD's, and without categories the questions, by a stable hash. One question is
      in one split, whatever group it is asked about.
    - `category`, `id`; `group_in_text`: the group as a sentence has it, such as `a nurse`.

    Returns:
        The splits; `neuron`, `control` and `names` go into `attribute`, `test` into `evaluate`.

    Raises:
        CulnigError: the file cannot be read, or a row is wrong; the message gives its number.

    Example:
        `questions` is a file of our own.

        >>> mine = load_questions(questions)
        >>> mine.groups
        ('nurse', 'baker', 'sailor')
        >>> sorted({one.group for one in mine.test})
        ['baker', 'nurse', 'sailor']
    """
    path = questions_file(path)
    rows = good_rows(path)
    split_by, items, drawn = _items(rows, path)

    def instances(part: str, split: Split) -> tuple[Instance, ...]:
        return tuple(render(items[part], [TEMPLATE], path.stem, split=split))

    return Questions(
        file=path,
        groups=tuple(names_of(rows)),
        neuron=instances("neuron", "neuron"),
        control=instances("neuron", "control"),
        test=instances("test", "test"),
        drawn=drawn,
        split_by=split_by,
    )


def load_items(split: Split, groups: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """The items of one split of a file of questions (`load_questions`), for the task `own`.

    Raises:
        CulnigError: no file, a group that it does not have, or as `load_questions`.
    """
    path = given_file(data)
    rows = good_rows(path)
    _, items, _ = _items(rows, path)
    check_groups(groups or (), tuple(names_of(rows)), path)
    found = items["test" if split == "test" else "neuron"]
    return [item for item in found if groups is None or item.group in groups]


def _items(rows: Sequence[Row], path: Path) -> tuple[str, dict[str, list[Item]], int]:
    """How questions were parted, the items of each split, and of how many options were drawn."""
    split_by, splits = _splits(rows, path)
    items: dict[str, list[Item]] = {name: [] for name in HALVES}
    for row in rows:
        items[splits[row.topic]].append(
            Item(
                id=row.id,
                group=row.group,
                fields={"question": row.question},
                options=(row.answer, *(row.wrong or _drawn(row, rows))),
                answer=0,
                question_id=row.topic,
            )
        )
    _check_groups(items, tuple(names_of(rows)), path)
    return split_by, items, sum(not row.wrong for row in rows)


def _splits(rows: Sequence[Row], path: Path) -> tuple[str, dict[str, str]]:
    """How questions were parted, and the split of each."""
    if any(row.split for row in rows):
        _check_filled(rows, "split", "fill it in all rows or in none")
        return "split", _of_topics(rows, "split", "of another group; a question is in one split")
    of_topic = _of_topics(rows, "category", "in another row; give one")
    categories = Counter(row.category for row in rows if row.category)
    if len(categories) > 1:
        _check_filled(rows, "category", "fill it or drop the column")
        return "category", _by_category(of_topic, categories)
    if len(of_topic) < 2:
        raise CulnigError(
            f"{path} has one question, asked of several groups: neurons are found on some and "
            "tested on others; give two or more"
        )
    return "hash", _by_hash(rows)


def _check_filled(rows: Sequence[Row], name: str, remedy: str) -> None:
    for row in rows:
        if not getattr(row, name):
            raise CulnigError(f"{row.where}: its {name} is empty; {remedy}")


def _of_topics(rows: Sequence[Row], name: str, otherwise: str) -> dict[str, str]:
    """The split or category of each question, which is one in all rows."""
    found: dict[str, str] = {}
    for row in rows:
        other = found.setdefault(row.topic, getattr(row, name))
        if other != getattr(row, name):
            raise CulnigError(f"{row.where}: its question is in the {name} {other!r} {otherwise}")
    return found


def _by_category(of_topic: Mapping[str, str], categories: Mapping[str, int]) -> dict[str, str]:
    """Whole categories, the largest first, each to the split that has fewer rows."""
    sizes = dict.fromkeys(HALVES, 0)
    halves = {}
    for name in sorted(categories, key=lambda name: (-categories[name], name)):
        halves[name] = min(HALVES, key=lambda split: sizes[split])
        sizes[halves[name]] += categories[name]
    return {topic: halves[category] for topic, category in of_topic.items()}


def _by_hash(rows: Sequence[Row]) -> dict[str, str]:
    """Every second question by a stable hash, among those that are asked of the same groups."""
    asked_of = defaultdict(set)
    for row in rows:
        asked_of[row.topic].add(row.group)
    alike = defaultdict(list)
    for topic, groups in asked_of.items():
        alike[tuple(sorted(groups))].append(topic)
    splits = {}
    for topics in alike.values():
        topics = sorted(topics, key=lambda topic: stable_random("split", topic).random())
        splits |= {topic: HALVES[place % 2] for place, topic in enumerate(topics)}
    return splits


def _drawn(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    """Other groups' answers as wrong options, from the likest questions first."""
    found: list[str] = []
    taken = content_words(row.answer)
    for near in (
        lambda other: other.topic == row.topic,
        lambda other: other.category == row.category,
        lambda other: True,
    ):
        answers = {o.answer for o in rows if o.group != row.group and near(o)} - {row.answer}
        for answer in sorted(
            answers, key=lambda text: (stable_random("wrong", row.id, text).random(), text)
        ):
            words = content_words(answer)
            if not words & taken and answer not in found:
                found.append(answer)
                taken |= words
            if len(found) == WRONG:
                return tuple(found)
    if not found:
        raise CulnigError(
            f"{row.where}: no other group's answer can serve as a wrong option, as each shares a "
            f"word with {row.answer!r}: give wrong options (columns wrong_1, wrong_2)"
        )
    return tuple(found)


def _check_groups(items: Mapping[str, list[Item]], groups: Sequence[str], path: Path) -> None:
    for split, part in items.items():
        present = {item.group for item in part}
        absent = [group for group in groups if group not in present]
        if absent:
            raise CulnigError(
                f"{path}: no question about {absent[0]!r} is in the split {split!r}: give it more "
                "questions, or a column 'split' with neuron and test"
            )
