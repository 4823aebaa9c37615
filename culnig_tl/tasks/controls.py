"""Two bundled tasks without culture, to show that masking culture neurons spares them."""

from pathlib import Path

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.instances import Split, stable_random
from culnig_tl.tasks.tables import read_table
from culnig_tl.tasks.templates import Item, Template

SPLITS: tuple[Split, ...] = ("test",)
_DATA = Path(__file__).parent / "data"
_OPTIONS = "A. {option_a}\nB. {option_b}\nC. {option_c}\nD. {option_d}"
COMMONSENSE = Template(
    user=(
        f"Choose the option that fits and give its letter only.\nQuestion: {{question}}\n{_OPTIONS}"
    ),
    cloze="Question: {question}\nAnswer:",
)
PARAPHRASE = Template(
    user=(
        "Which option says the same as the sentence? Give its letter only.\n"
        f"Sentence: {{question}}\n{_OPTIONS}"
    ),
    cloze="Sentence: {question}\nThe same in other words:",
)


def commonsense_items(
    split: Split, groups: tuple[str, ...] | None, data: Path | None
) -> list[Item]:
    """Everyday knowledge that no country owns: a question, its answer, three wrong options."""
    columns = ["id", "question", "answer", "wrong_1", "wrong_2", "wrong_3"]
    table = read_table(data or _DATA / "commonsense.csv", columns, key="id")
    return [
        Item(
            id=row["id"],
            group=None,
            fields={"question": row["question"]},
            options=tuple(row[c] for c in columns[2:]),
            answer=0,
        )
        for row in table.to_dict("records")
    ]


def paraphrase_items(split: Split, groups: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """A sentence, another that means the same, and three other sentences' paraphrases.

    Wrong options that change a word or two of the sentence would be likelier to a language model
    than the paraphrase, whatever they mean: a cloze of them measures copying.
    """
    columns = ["id", "sentence", "paraphrase"]
    table = read_table(data or _DATA / "paraphrase.csv", columns, key="id")
    rows = table.to_dict("records")
    if len(rows) < 4:
        raise CulnigError(f"{data} has {len(rows)} pairs: give four or more")
    items = []
    for row in rows:
        others = sorted(other["paraphrase"] for other in rows if other is not row)
        wrong = stable_random("paraphrase", row["id"]).sample(others, 3)
        fields = {"question": row["sentence"]}
        items.append(
            Item(
                id=row["id"],
                group=None,
                fields=fields,
                options=(row["paraphrase"], *wrong),
                answer=0,
            )
        )
    return items
