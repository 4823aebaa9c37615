"""MRPC (GLUE; Dolan and Brockett 2005): do two sentences say the same?"""

from pathlib import Path

from culnig_tl.tasks.instances import Split
from culnig_tl.tasks.tables import read_rows, zero_or_one
from culnig_tl.tasks.templates import Item, Template

SPLITS: tuple[Split, ...] = ("test", "train")
_HUB = {"test": ("nyu-mll/glue", "mrpc", "test"), "train": ("nyu-mll/glue", "mrpc", "train")}
_COLUMNS = ("idx", "sentence1", "sentence2", "label")
TEMPLATES = (
    Template(
        user=(
            "Do these two sentences say the same? Reply with one digit: 1 for yes, 0 for no.\n"
            "First: {sentence1}\nSecond: {sentence2}"
        ),
        cloze=(
            "First: {sentence1}\nSecond: {sentence2}\n"
            "Question: Do the two sentences say the same, yes or no?\nAnswer:"
        ),
    ),
    Template(
        user=(
            "{sentence1}\n{sentence2}\n\n"
            "If one line could stand in for the other, write 1, otherwise 0. Just the digit."
        ),
        cloze="{sentence1}\n{sentence2}\nCould one line stand in for the other (Yes, No)?",
    ),
    Template(
        user=(
            "An editor wants to keep just one of two sentences, if nothing is lost by it.\n"
            "A: {sentence1}\nB: {sentence2}\n"
            "0 = something would be lost\n1 = nothing would be lost\nReply with 0 or 1:"
        ),
        cloze=(
            "A: {sentence1}\nB: {sentence2}\n"
            "Is nothing lost if only one of them is kept, Yes or No:"
        ),
    ),
    Template(
        user=(
            "Two codes are in use: 0 (the news differs) and 1 (the same news in other words). Give "
            "the code for this pair and nothing besides.\n"
            "One paper: {sentence1}\nAnother paper: {sentence2}"
        ),
        cloze=(
            "One paper: {sentence1}\nAnother paper: {sentence2}\n"
            "Is it the same news in other words, Yes or No:"
        ),
    ),
)


def load_items(split: Split, countries: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """One item a row of the Hub's split `test` (`train`: of that), or of the file `data`:
    1 is a paraphrase.

    The options are No and Yes to "do they say the same", labelled 0 and 1, in that order.

    Raises:
        CulnigError: a missing column, or a malformed row (its number, counted from 1).
    """
    items = []
    for where, row in read_rows(_HUB[split], data, _COLUMNS, key="idx"):
        label = zero_or_one(row, where, ("not_equivalent", "equivalent"))
        fields = {key: row[key].strip() for key in ("sentence1", "sentence2")}
        items.append(
            Item(
                id=row["idx"],
                group=None,
                fields=fields,
                options=("No", "Yes"),
                answer=label,
                shuffle=False,
                labels=("0", "1"),
            )
        )
    return items
