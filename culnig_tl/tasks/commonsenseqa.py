"""CommonsenseQA (Talmor et al. 2019): everyday knowledge, five options."""

from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.files import parse_json
from culnig_tl.tasks.instances import Split
from culnig_tl.tasks.tables import read_rows, text_of
from culnig_tl.tasks.templates import Item, Template, without_twins

SPLITS: tuple[Split, ...] = ("test",)
_HUB = ("tau/commonsense_qa", None, "validation")
_COLUMNS = ("id", "question", "answerKey")
_LETTERS = "A. {option_a}\nB. {option_b}\nC. {option_c}\nD. {option_d}\nE. {option_e}"
_DIGITS = "1. {option_a}\n2. {option_b}\n3. {option_c}\n4. {option_d}\n5. {option_e}"
TEMPLATES = (
    Template(
        user=(
            "Think of what everybody knows and reply with the letter of the best option, no "
            f"more.\nQuestion: {{question}}\n{_LETTERS}"
        ),
        cloze="Question: {question}\nAnswer:",
    ),
    Template(
        user=f"{{question}}\n{_LETTERS}\nThe best of the five is (one letter):",
        cloze="Q: {question}\nA:",
    ),
    Template(
        user=(
            "Five options follow a question. Reply with the number of the one that makes most "
            f"sense.\nQuestion: {{question}}\n{_DIGITS}"
        ),
        cloze="A question of common sense: {question}\nBest answer:",
    ),
    Template(
        user=(
            f"Options:\n{_DIGITS}\nQuestion: {{question}}\n"
            "Which of the options above fits best? A single number is enough."
        ),
        cloze="{question}\nThe answer is:",
    ),
)


def load_items(split: Split, countries: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """One item a row of the Hub's split `validation`, or of the file `data`, without countries.

    A row with the same option twice is left out, and the log says so.

    Raises:
        CulnigError: a missing column, or a malformed row (its number, counted from 1).
    """
    items = []
    for where, row in read_rows(_HUB, data, _COLUMNS, nested=("choices",), key="id"):
        labels, options = _choices(row["choices"], where)
        if row["answerKey"] not in labels:
            raise CulnigError(
                f"{where}: answer {row['answerKey']!r} is not among its options {labels}; mend it"
            )
        answer = labels.index(row["answerKey"])
        items.append(
            Item(
                id=row["id"],
                group=None,
                fields={"question": row["question"]},
                options=tuple(options),
                answer=answer,
            )
        )
    return without_twins(items, "commonsenseqa")


def _choices(cell: Any, where: str) -> tuple[list[str], list[str]]:
    """Labels and texts, from a nested cell or, in a CSV, from JSON."""
    try:
        choices = parse_json(cell) if isinstance(cell, str) else cell
        labels, texts = choices["label"], choices["text"]
        if not isinstance(labels, list) or not isinstance(texts, list):
            raise TypeError("no lists")
    except (TypeError, ValueError, KeyError) as error:
        raise CulnigError(
            f'{where}: \'choices\' is not like {{"label": [...], "text": [...]}}; mend it'
        ) from error
    if len(labels) != 5 or len(texts) != 5:
        raise CulnigError(
            f"{where}: 'choices' has {len(labels)} labels and {len(texts)} texts; give five each"
        )
    labels = [text_of(label, "a label in 'choices'", where) for label in labels]
    if len(set(labels)) < 5:
        raise CulnigError(f"{where}: 'choices' has the labels {labels}; make them different")
    return labels, [text_of(text, "a text in 'choices'", where) for text in texts]
