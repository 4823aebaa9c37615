"""NormAd (Rao et al. 2024): does what happens in a story fit the norms of a country?"""

from pathlib import Path

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.countries import benchmark_country
from culnig_tl.tasks.instances import Split
from culnig_tl.tasks.tables import read_rows
from culnig_tl.tasks.templates import Item, Template

SPLITS: tuple[Split, ...] = ("test",)
_HUB = ("akhilayerukola/NormAd", None, "train")
_COLUMNS = ("ID", "Country", "Story", "Gold Label")
_OPTIONS = ("Yes", "No", "Neutral")
TEMPLATES = (
    Template(
        user=(
            "Somebody in {country} behaves as the story tells. Would people there find it "
            "acceptable? Reply with the number of your choice only.\n"
            "Story: {story}\n{options}"
        ),
        cloze=(
            "Country: {country}\nStory: {story}\n"
            "Question: Is this acceptable there: yes, no or neutral?\nAnswer:"
        ),
    ),
    Template(
        user=(
            "{story}\n\nMeasured by the customs of {country}, was that good manners?\n{options}\n"
            "Write one number and stop."
        ),
        cloze=(
            "{story}\nQuestion: By the customs of {country}, is this good manners, yes, no or "
            "neutral?\nAnswer:"
        ),
    ),
    Template(
        user=(
            "You know how people in {country} treat one another. Rate the conduct below as in "
            "keeping with their norms, against them, or neither.\nConduct: {story}\n"
            "Choices:\n{options}\nNumber of your choice:"
        ),
        cloze=(
            "What happened in {country}: {story}\nDoes it keep to the norms of the place (Yes, No, "
            "Neutral)?"
        ),
    ),
    Template(
        user=(
            "Place: {country}\nWhat happened: {story}\n"
            "Did everyone act as is usual in that place?\n{options}\n"
            "Give the number that goes with your answer, without a word of comment."
        ),
        cloze=(
            "Place: {country}\nWhat happened: {story}\n"
            "As usual there (Yes), against the custom (No), or Neutral:"
        ),
    ),
)


def load_items(split: Split, countries: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """One item a row of the Hub's dataset, or of the file `data`; labels 1, 2, 3 by place.

    The story and its country alone: NormAd's rule of thumb and value would tell the answer.

    Raises:
        CulnigError: a missing column, or a malformed row (its number, counted from 1).
    """
    items = []
    for where, row in read_rows(_HUB, data, _COLUMNS, key="ID"):
        label = row["Gold Label"].strip().capitalize()
        if label not in _OPTIONS:
            raise CulnigError(
                f"{where}: label {row['Gold Label']!r} is not one of yes, no, neutral; mend it"
            )
        country, in_text = benchmark_country(row["Country"])
        items.append(
            Item(
                id=row["ID"],
                group=country,
                fields={"country": in_text, "story": row["Story"].strip()},
                options=_OPTIONS,
                answer=_OPTIONS.index(label),
                labels=("1", "2", "3"),
            )
        )
    return items
