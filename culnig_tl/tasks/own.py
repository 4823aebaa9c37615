"""Questions of your own: a file with a question, a group and an answer a row, made into splits."""

import html
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json
from culnig_tl.tasks.everyday import content_words
from culnig_tl.tasks.instances import Instance, Split, stable_random
from culnig_tl.tasks.tables import is_blank, read_table, text_of
from culnig_tl.tasks.templates import Item, Template, render

REQUIRED = ("question", "group", "answer")
PLACEHOLDER = "{group}"
WRONG = 3  # wrong options that are drawn, where there are as many
TEMPLATE = Template(
    user=(
        "Pick the option that answers the question best and reply with its letter alone.\n"
        "Question: {question}\n{options}"
    ),
    cloze="Question: {question}\nAnswer:",
)
NAMES_TEMPLATE = Template(
    user=(
        "Read the passage, then reply with the letter of the right option and nothing else.\n"
        "Passage: {passage}\nQuestion: {question}\n{options}"
    ),
    cloze="{passage}\nQuestion: {question}\nAnswer:",
)
SPLITS: tuple[Split, ...] = ("neuron", "control", "test")
NAME_SPLITS: tuple[Split, ...] = ("neuron", "test")
_DATA = Path(__file__).parent / "data"
_PASSAGES = _DATA / "group_passages.json"
# Files that come with the package, by name: one of culture, one not.
EXAMPLES = {name: _DATA / f"{name}.csv" for name in ("religions", "elements")}
_OPTIONAL = ("wrong", "split", "category", "id", "group_in_text")
_SPLITS = ("neuron", "test")


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

    def counts(self) -> pd.DataFrame:
        """Questions by group and split."""
        rows = {
            split: Counter(one.country for one in part)
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


@dataclass(frozen=True)
class _Row:
    """A row of the file. `topic` is what is asked, whatever the group."""

    where: str
    id: str
    question: str
    topic: str
    group: str
    named: str
    answer: str
    wrong: tuple[str, ...]
    split: str
    category: str


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
        The splits; `neuron` and `control` go into `attribute`, `test` into `evaluate`.

    Raises:
        CulnigError: the file cannot be read, or a row is wrong; the message gives its number.

    Example:
        `questions` is a file of our own.

        >>> mine = load_questions(questions)
        >>> mine.groups
        ('nurse', 'baker', 'sailor')
        >>> sorted({one.country for one in mine.test})
        ['baker', 'nurse', 'sailor']
    """
    path = questions_file(path)
    rows = _good_rows(path)
    split_by, items, drawn = _items(rows, path)

    def instances(part: str, split: Split) -> tuple[Instance, ...]:
        return tuple(render(items[part], [TEMPLATE], path.stem, split=split))

    return Questions(
        file=path,
        groups=tuple(_groups(rows)),
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
    rows = _good_rows(path)
    _, items, _ = _items(rows, path)
    check_groups(groups or (), tuple(_groups(rows)), path)
    found = items["test" if split == "test" else "neuron"]
    return [item for item in found if groups is None or item.country in groups]


def load_name_items(split: Split, groups: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """Passages whose answer is a group's name, for the groups of a file of questions: what the
    filter of names is found on (`neuron`: the first half of the passages), and a test (the others).

    Up to three wrong options are other groups' names; where a passage names a second group, that
    is one of them.

    Raises:
        CulnigError: as `load_items`.
    """
    path = given_file(data)
    names = _groups(_good_rows(path))
    check_groups(groups or (), tuple(names), path)
    passages = read_json(_PASSAGES)
    half = len(passages) // 2
    items = []
    for passage in passages[:half] if split == "neuron" else passages[half:]:
        for group in groups or names:
            others = [name for name in names if name != group]
            stable_random("names", passage["id"], group).shuffle(others)
            context = passage["context"].replace("{other}", names[others[0]])
            items.append(
                Item(
                    id=f"{passage['id']}/{group}",
                    country=group,
                    fields={
                        "passage": context.replace(PLACEHOLDER, names[group]),
                        "question": passage["question"],
                    },
                    options=(names[group], *(names[other] for other in others[:WRONG])),
                    answer=0,
                )
            )
    return items


def groups_of(path: str | Path) -> tuple[str, ...]:
    """The groups of a file of questions, in the order in which they first come.

    Raises:
        CulnigError: as `load_questions`.
    """
    return tuple(_groups(_good_rows(questions_file(path))))


def check_groups(wanted: Iterable[str], groups: Sequence[str], path: Path) -> None:
    """Refuse a group that the file does not have.

    Raises:
        CulnigError: the message lists those that it has.
    """
    for name in wanted:
        if name not in groups:
            raise CulnigError(f"{path} has no group {name!r}: it has {', '.join(groups)}")


def given_file(data: str | Path | None) -> Path:
    """The file of questions that is given.

    Raises:
        CulnigError: there is none.
    """
    if data is None:
        raise CulnigError("questions of your own are in no file: give one (--questions FILE)")
    return questions_file(data)


def _groups(rows: Sequence["_Row"]) -> dict[str, str]:
    """Each group, and what it is called in a sentence."""
    found: dict[str, str] = {}
    for row in rows:
        found.setdefault(row.group, row.named)
    return found


def _good_rows(path: Path) -> list["_Row"]:
    """The rows of a file, of which all can be read, about two groups or more."""
    rows, faults = _rows(path)
    if faults:
        more = len(faults) - 1
        raise CulnigError(
            faults[0] + (f" ({more} more: culnig check {path} lists them)" if more else "")
        )
    if len(_groups(rows)) < 2:
        raise CulnigError(
            f"{path}: all questions are about {rows[0].group!r}: what is of one group shows beside "
            "others; give two or more"
        )
    return rows


def _items(rows: Sequence["_Row"], path: Path) -> tuple[str, dict[str, list[Item]], int]:
    """How questions were parted, the items of each split, and of how many options were drawn."""
    split_by, splits = _splits(rows, path)
    items: dict[str, list[Item]] = {name: [] for name in _SPLITS}
    for row in rows:
        items[splits[row.topic]].append(
            Item(
                id=row.id,
                country=row.group,
                fields={"question": row.question},
                options=(row.answer, *(row.wrong or _drawn(row, rows))),
                answer=0,
                question_id=row.topic,
            )
        )
    _check_groups(items, tuple(_groups(rows)), path)
    return split_by, items, sum(not row.wrong for row in rows)


def faults_in(path: str | Path) -> list[str]:
    """What is wrong with single rows of a file of questions, a line for each, with its remedy.

    Raises:
        CulnigError: the file cannot be read.
    """
    return _rows(questions_file(path))[1]


def questions_file(name: str | Path) -> Path:
    """The file of this name, or the one that comes with the package (`EXAMPLES`).

    Example:
        >>> questions_file("religions").name, questions_file("mine.csv").name
        ('religions.csv', 'mine.csv')
    """
    path = Path(name)
    return path if path.exists() else EXAMPLES.get(str(name), path)


def _rows(path: Path) -> tuple[list[_Row], list[str]]:
    """The rows that can be read, and what is wrong with the others."""
    table = read_table(path, (), nested=REQUIRED)
    table.columns = [_known(str(name)) for name in table.columns]
    numbered = sorted(
        (name for name in table.columns if name.startswith("wrong_")), key=lambda n: (len(n), n)
    )
    strange = [n for n in table.columns if n.startswith("wrong") and n not in ("wrong", *numbered)]
    if strange:
        raise CulnigError(f"{path}: column {strange[0]!r} is unknown: call it wrong, or wrong_1")
    if numbered and "wrong" in table.columns:
        raise CulnigError(f"{path} has columns 'wrong' and {numbered[0]!r}: keep one way of both")
    rows: list[_Row] = []
    faults: list[str] = []
    asked: dict[tuple[str, str], str] = {}
    named: dict[str, str] = {}
    for number, cells in enumerate(table.to_dict("records"), start=1):
        where = f"{path}, row {number}"
        try:
            row = _row({str(k): v for k, v in cells.items()}, numbered, where=where, id=str(number))
            other = named.setdefault(row.id, where)
            if other != where:
                raise CulnigError(
                    f"{where}: its id {row.id!r} is that of {other} too; give another"
                )
            other = asked.setdefault((row.topic, row.group), where)
            if other != where:
                raise CulnigError(
                    f"{where}: it asks {row.group!r} the question of {other}; keep one of them"
                )
        except CulnigError as error:
            faults.append(str(error))
        else:
            rows.append(row)
    return rows, faults


def _known(name: str) -> str:
    """A column's name in lower case where it is one of ours."""
    plain = name.strip().casefold()
    return plain if plain in (*REQUIRED, *_OPTIONAL) or plain.startswith("wrong") else name


def _row(cells: Mapping[str, Any], numbered: Sequence[str], *, where: str, id: str) -> _Row:
    """A row as the package reads it; `id` is what it is called where it has no name of its own."""

    def text(name: str, default: str = "") -> str:
        cell = cells.get(name)
        return default if is_blank(cell) else text_of(cell, f"column {name!r}", where).strip()

    asked, group, answer = (
        text_of(cells[name], f"column {name!r}", where).strip() for name in REQUIRED
    )
    named = text("group_in_text", group)
    if "{" in asked.replace(PLACEHOLDER, "") or "}" in asked.replace(PLACEHOLDER, ""):
        raise CulnigError(
            f"{where}: the question has a brace that is not {PLACEHOLDER}; take it out"
        )
    topic = asked
    if PLACEHOLDER not in asked:
        topic = re.sub(rf"(?<!\w){re.escape(named)}(?!\w)", PLACEHOLDER, asked, flags=re.IGNORECASE)
    split = text("split").casefold()
    if split and split not in _SPLITS:
        raise CulnigError(
            f"{where}: split {cells['split']!r} is neither neuron nor test; mend it or leave it "
            "empty everywhere"
        )
    wrong = [text(name) for name in numbered] or text("wrong").split("|")
    wrong = [option.strip() for option in wrong if option.strip()]
    seen = {answer.casefold()}
    for option in wrong:
        if option.casefold() in seen:
            what = "the answer" if option.casefold() == answer.casefold() else "there twice"
            raise CulnigError(f"{where}: the wrong option {option!r} is {what}; give another")
        seen.add(option.casefold())
    return _Row(
        where=where,
        id=text("id", id),
        question=asked.replace(PLACEHOLDER, named),
        topic=topic,
        group=group,
        named=named,
        answer=answer,
        wrong=tuple(wrong),
        split=split,
        category=text("category"),
    )


def _splits(rows: Sequence[_Row], path: Path) -> tuple[str, dict[str, str]]:
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


def _check_filled(rows: Sequence[_Row], name: str, remedy: str) -> None:
    for row in rows:
        if not getattr(row, name):
            raise CulnigError(f"{row.where}: its {name} is empty; {remedy}")


def _of_topics(rows: Sequence[_Row], name: str, otherwise: str) -> dict[str, str]:
    """The split or category of each question, which is one in all rows."""
    found: dict[str, str] = {}
    for row in rows:
        other = found.setdefault(row.topic, getattr(row, name))
        if other != getattr(row, name):
            raise CulnigError(f"{row.where}: its question is in the {name} {other!r} {otherwise}")
    return found


def _by_category(of_topic: Mapping[str, str], categories: Mapping[str, int]) -> dict[str, str]:
    """Whole categories, the largest first, each to the split that has fewer rows."""
    sizes = dict.fromkeys(_SPLITS, 0)
    halves = {}
    for name in sorted(categories, key=lambda name: (-categories[name], name)):
        halves[name] = min(_SPLITS, key=lambda split: sizes[split])
        sizes[halves[name]] += categories[name]
    return {topic: halves[category] for topic, category in of_topic.items()}


def _by_hash(rows: Sequence[_Row]) -> dict[str, str]:
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
        splits |= {topic: _SPLITS[place % 2] for place, topic in enumerate(topics)}
    return splits


def _drawn(row: _Row, rows: Sequence[_Row]) -> tuple[str, ...]:
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
        present = {item.country for item in part}
        absent = [group for group in groups if group not in present]
        if absent:
            raise CulnigError(
                f"{path}: no question about {absent[0]!r} is in the split {split!r}: give it more "
                "questions, or a column 'split' with neuron and test"
            )
