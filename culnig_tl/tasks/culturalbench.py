"""CulturalBench (Chiu et al. 2024), its easy form: a question about a country, four options."""

from pathlib import Path

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.countries import benchmark_country
from culnig_tl.tasks.instances import Split
from culnig_tl.tasks.tables import read_rows
from culnig_tl.tasks.templates import Item, Template, without_twins

SPLITS: tuple[Split, ...] = ("test",)
_HUB = ("kellycyy/CulturalBench", "CulturalBench-Easy", "test")
_OPTIONS = tuple(f"prompt_option_{letter}" for letter in "abcd")
_COLUMNS = ("data_idx", "prompt_question", *_OPTIONS, "answer", "country")
_LETTERS = "A. {option_a}\nB. {option_b}\nC. {option_c}\nD. {option_d}"
_DIGITS = "1. {option_a}\n2. {option_b}\n3. {option_c}\n4. {option_d}"
TEMPLATES = (
    Template(
        user=(
            "Here is a question about how people live. One of the four options is right; reply "
            f"with its letter alone.\nQuestion: {{question}}\n{_LETTERS}"
        ),
        cloze="Question: {question}\nAnswer:",
    ),
    Template(
        user=f"{{question}}\n{_LETTERS}\nName the letter of the correct option, nothing more.",
        cloze="Q: {question}\nA:",
    ),
    Template(
        user=(
            "Which numbered option answers this question? Your reply is a number from 1 to 4.\n"
            f"Question: {{question}}\n{_DIGITS}"
        ),
        cloze="A quiz about customs.\nQuestion: {question}\nRight answer:",
    ),
    Template(
        user=(
            f"Question: {{question}}\nOptions:\n{_DIGITS}\n"
            "Write down just the number of the option that is true."
        ),
        cloze="{question}\nThe answer is:",
    ),
)


def load_items(split: Split, countries: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """One item a row of the Hub's configuration `CulturalBench-Easy`, or of the file `data`.

    A row with the same option twice is left out, and the log says so.

    Raises:
        CulnigError: a missing column, or a malformed row (its number, counted from 1).
    """
    items = []
    for where, row in read_rows(_HUB, data, _COLUMNS, key="data_idx"):
        answer = row["answer"].strip().upper()
        if answer not in ("A", "B", "C", "D"):
            raise CulnigError(
                f"{where}: answer {row['answer']!r} is not one of A, B, C, D; mend it"
            )
        items.append(
            Item(
                id=row["data_idx"],
                group=benchmark_country(row["country"])[0],
                fields={"question": row["prompt_question"].strip()},
                options=tuple(row[option].strip() for option in _OPTIONS),
                answer="ABCD".index(answer),
            )
        )
    return without_twins(items, "culturalbench")
