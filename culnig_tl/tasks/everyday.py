"""The bundled cultural task: everyday facts of 16 countries, in BLEnD's six categories."""

import re
from collections import Counter
from itertools import permutations
from pathlib import Path

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.countries import COUNTRIES, country_in_text, country_name
from culnig_tl.tasks.instances import Split, stable_random
from culnig_tl.tasks.tables import is_blank, read_table, text_of
from culnig_tl.tasks.templates import Item, Template

SPLITS: tuple[Split, ...] = ("neuron", "control", "test")
NEURON_CATEGORIES = ("Food", "Work life", "Sport")
TEST_CATEGORIES = ("Education", "Family", "Holidays/Celebration/Leisure")
TEMPLATE = Template(
    user=(
        "Pick the option that answers the question best and reply with its letter alone.\n"
        "Question: {question}\nA. {option_a}\nB. {option_b}\nC. {option_c}\nD. {option_d}"
    ),
    cloze="Question: {question}\nAnswer:",
)
_BUNDLED = Path(__file__).parent / "data" / "everyday.csv"
_SMALL_WORDS = frozenset("a al an and at de el in la of on or the to with".split())


def categories_of(split: Split) -> tuple[str, ...]:
    """METHOD's split: neurons are found on three categories and tested on the other three."""
    return TEST_CATEGORIES if split == "test" else NEURON_CATEGORIES


def load_items(split: Split, countries: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """One item per question and country.

    The file has one row a question: `id`, `category`, `question` with `{country}` in it, and a
    column per country. A cell holds the answer, then, behind `|`, other answers that are right
    there too and so never serve as its wrong options. The three wrong options are other
    countries' answers that share no word with the right one or with each other, drawn by a
    stable hash of question and country.

    Raises:
        CulnigError: a malformed row, or a question without three such wrong options.
    """
    path = data or _BUNDLED
    table = read_table(path, ["id", "category", "question"], key="id")
    columns = [c for c in table.columns if c not in ("id", "category", "question")]
    names = {column: country_name(column) for column in columns}
    repeated = [name for name, count in Counter(names.values()).items() if count > 1]
    if repeated:
        raise CulnigError(f"{path} has more than one column for {repeated[0]}: keep one")
    wanted = countries or COUNTRIES
    absent = [country for country in wanted if country not in names.values()]
    if absent:
        raise CulnigError(f"{path} has no column for {absent[0]}: it has {', '.join(columns)}")
    items = []
    for number, row in enumerate(table.to_dict("records"), start=1):
        where = f"{path}, row {number}"
        if row["category"] not in NEURON_CATEGORIES + TEST_CATEGORIES:
            raise CulnigError(
                f"{where}: unknown category {row['category']!r}; choose from "
                f"{', '.join(NEURON_CATEGORIES + TEST_CATEGORIES)}"
            )
        if row["question"].count("{country}") != 1:
            raise CulnigError(f"{where}: the question must hold {{country}} once")
        if row["category"] not in categories_of(split):
            continue
        cells = {names[column]: _answers(row[column], column, where) for column in columns}
        for country in wanted:
            if cells[country]:
                items.append(_item(row, country, cells, where=where))
    return items


def _answers(cell: object, column: str, where: str) -> list[str]:
    if is_blank(cell):
        return []
    text = text_of(cell, f"column {column!r}", where)
    return [part.strip() for part in text.split("|") if part.strip()]


def content_words(text: str) -> set[str]:
    """The words of a text, in lower case, without the small ones that any answer may have."""
    return set(re.findall(r"\w+", text.lower())) - _SMALL_WORDS


def _item(row: dict[str, str], country: str, cells: dict[str, list[str]], *, where: str) -> Item:
    answer, taken = cells[country][0], set().union(*map(content_words, cells[country]))
    others = [cells[c][0] for c in COUNTRIES if c != country and cells.get(c)]
    candidates = [other for other in dict.fromkeys(others) if not content_words(other) & taken]
    stable_random("everyday", row["id"], country).shuffle(candidates)
    for wrong in permutations(candidates, 3):
        if sum(map(len, map(content_words, wrong))) == len(set().union(*map(content_words, wrong))):
            break
    else:
        raise CulnigError(
            f"{where}: fewer than three wrong options for {country} share no word with "
            f"{answer!r}; make the answers differ more"
        )
    question = row["question"].replace("{country}", country_in_text(country))
    return Item(
        id=f"{row['id']}/{country}",
        group=country,
        fields={"question": question},
        options=(answer, *wrong),
        answer=0,
        question_id=row["id"],
    )
