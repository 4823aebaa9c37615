"""The rows of a file of questions of your own: a question, a group and an answer each."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.tables import is_blank, read_table, text_of

REQUIRED = ("question", "group", "answer")
PLACEHOLDER = "{group}"
# Into which questions are parted.
HALVES = ("neuron", "test")
_DATA = Path(__file__).parent / "data"
# Files that come with the package, by name: one of culture, one not.
EXAMPLES = {name: _DATA / f"{name}.csv" for name in ("religions", "elements")}
_OPTIONAL = ("wrong", "split", "category", "id", "group_in_text")


@dataclass(frozen=True)
class Row:
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


def questions_file(name: str | Path) -> Path:
    """The file of this name, or the one that comes with the package (`EXAMPLES`).

    Example:
        >>> questions_file("religions").name, questions_file("mine.csv").name
        ('religions.csv', 'mine.csv')
    """
    path = Path(name)
    return path if path.exists() else EXAMPLES.get(str(name), path)


def holds_questions(path: Path) -> bool:
    """Whether a file has the columns of questions of your own."""
    try:
        read_table(path, (), nested=REQUIRED)
    except CulnigError:
        return False
    return True


def given_file(data: str | Path | None) -> Path:
    """The file of questions that is given.

    Raises:
        CulnigError: there is none.
    """
    if data is None:
        raise CulnigError("questions of your own are in no file: give one (--questions FILE)")
    return questions_file(data)


def groups_of(path: str | Path) -> tuple[str, ...]:
    """The groups of a file of questions, in the order in which they first come.

    Raises:
        CulnigError: as `load_questions`.
    """
    return tuple(names_of(good_rows(questions_file(path))))


def check_groups(wanted: Iterable[str], groups: Sequence[str], path: Path) -> None:
    """Refuse a group that the file does not have.

    Raises:
        CulnigError: the message lists those that it has.
    """
    for name in wanted:
        if name not in groups:
            raise CulnigError(f"{path} has no group {name!r}: it has {', '.join(groups)}")


def faults_in(path: str | Path) -> list[str]:
    """What is wrong with single rows of a file of questions, a line for each, with its remedy.

    Raises:
        CulnigError: the file cannot be read.
    """
    return _rows(questions_file(path))[1]


def good_rows(path: Path) -> list[Row]:
    """The rows of a file, of which all can be read, about two groups or more."""
    rows, faults = _rows(path)
    if faults:
        more = len(faults) - 1
        raise CulnigError(
            faults[0] + (f" ({more} more: culnig check {path} lists them)" if more else "")
        )
    if len(names_of(rows)) < 2:
        raise CulnigError(
            f"{path}: all questions are about {rows[0].group!r}: what is of one group shows beside "
            "others; give two or more"
        )
    return rows


def names_of(rows: Sequence[Row]) -> dict[str, str]:
    """Each group, and what it is called in a sentence."""
    found: dict[str, str] = {}
    for row in rows:
        found.setdefault(row.group, row.named)
    return found


def _rows(path: Path) -> tuple[list[Row], list[str]]:
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
    rows: list[Row] = []
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


def _row(cells: Mapping[str, Any], numbered: Sequence[str], *, where: str, id: str) -> Row:
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
    if split and split not in HALVES:
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
    return Row(
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
