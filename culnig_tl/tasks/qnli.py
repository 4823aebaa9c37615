"""QNLI (GLUE, Wang et al. 2018): does a sentence answer a question?"""

from pathlib import Path

from culnig_tl.tasks.instances import Split
from culnig_tl.tasks.tables import read_rows, zero_or_one
from culnig_tl.tasks.templates import Item, Template

SPLITS: tuple[Split, ...] = ("test", "train")
_HUB = {"test": ("nyu-mll/glue", "qnli", "validation"), "train": ("nyu-mll/glue", "qnli", "train")}
_COLUMNS = ("idx", "question", "sentence", "label")
TEMPLATES = (
    Template(
        user=(
            "Can the question be answered from the sentence alone? Reply 0 for yes, 1 for no, with "
            "the digit only.\nSentence: {sentence}\nQuestion: {question}"
        ),
        cloze=(
            "Sentence: {sentence}\nQuestion: {question}\n"
            "Can the question be answered from the sentence, yes or no?\nAnswer:"
        ),
    ),
    Template(
        user=(
            "Somebody asks: {question}\nSomebody else says: {sentence}\n"
            "Write 0 if that is a reply to what was asked and 1 if it is not. Just the digit."
        ),
        cloze=(
            "Somebody asks: {question}\nSomebody else says: {sentence}\n"
            "Is that a reply to what was asked (Yes, No)?"
        ),
    ),
    Template(
        user=(
            "Sentence: {sentence}\n\nAfter reading only this, would you know: {question}\n"
            "0 = I would know\n1 = I would not know\nReply with 0 or 1:"
        ),
        cloze=(
            "Sentence: {sentence}\nAfter reading only this, would you know: {question}\nYes or No:"
        ),
    ),
    Template(
        user=(
            "Two codes are in use: 0 (the text holds the answer) and 1 (the text does not hold "
            "it). Give the code for this pair and nothing besides.\n"
            "Question: {question}\nText: {sentence}"
        ),
        cloze="Question: {question}\nText: {sentence}\nThe text holds the answer, Yes or No:",
    ),
)


def load_items(split: Split, countries: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """One item a row of the Hub's split `validation` (`train`: of that), or of the file `data`:
    0 is entailment.

    The options are Yes and No to "does it answer the question", labelled 0 and 1, in that order.

    Raises:
        CulnigError: a missing column, or a malformed row (its number, counted from 1).
    """
    items = []
    for where, row in read_rows(_HUB[split], data, _COLUMNS, key="idx"):
        label = zero_or_one(row, where, ("entailment", "not_entailment"))
        fields = {"question": row["question"].strip(), "sentence": row["sentence"].strip()}
        items.append(
            Item(
                id=row["idx"],
                group=None,
                fields=fields,
                options=("Yes", "No"),
                answer=label,
                shuffle=False,
                labels=("0", "1"),
            )
        )
    return items
