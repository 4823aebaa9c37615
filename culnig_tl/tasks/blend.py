"""BLEnD's multiple-choice questions (Myung et al. 2024), from the Hub or from a local copy."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from pathlib import Path

import pandas as pd

from culnig_tl.errors import CulnigError
from culnig_tl.files import parse_json
from culnig_tl.tasks.countries import country_name
from culnig_tl.tasks.everyday import NEURON_CATEGORIES, TEST_CATEGORIES, categories_of
from culnig_tl.tasks.formats import SUFFIXES
from culnig_tl.tasks.instances import Split
from culnig_tl.tasks.tables import check_once, is_blank, read_hub, read_table, text_of
from culnig_tl.tasks.templates import Item, Template

SPLITS: tuple[Split, ...] = ("neuron", "control", "test")
PER_QUESTION = 5
TEMPLATE = Template(
    user="{prompt}",
    cloze="Question: {question}\nAnswer:",
    control="{instruction}",
    prefill='{"answer_choice":"',
)
# In which language a country's questions are asked.
LANGUAGES = {
    "Algeria": "ar",
    "Assam": "as",
    "Azerbaijan": "az",
    "China": "zh",
    "Ethiopia": "am",
    "Greece": "el",
    "Indonesia": "id",
    "Iran": "fa",
    "Mexico": "es",
    "North Korea": "ko",
    "Northern Nigeria": "ha",
    "South Korea": "ko",
    "Spain": "es",
    "UK": "en",
    "USA": "en",
    "West Java": "su",
}
# The Hub's splits of the short-answer questions, in the order of LANGUAGES.
_SPLITS = dict(
    zip(LANGUAGES, "DZ AS AZ CN ET GR ID IR MX KP NG KR ES GB US JB".split(), strict=True)
)
HUB = "nayeon212/BLEnD"
_COLUMNS = ("MCQID", "ID", "country", "prompt", "choices", "answer_idx")
_INSTRUCTION = "Without any explanation"


def load_items(split: Split, countries: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """Up to five instances per (question, country), in file order, options in file order.

    `data` is a folder with `multiple_choice.parquet` (or `.csv`, `.jsonl`) in the schema of the
    Hub's configuration `multiple-choice-questions`, and `questions/US_questions.csv` with the
    columns `ID` and `Topic`.

    Raises:
        CulnigError: a missing file or column, or a malformed row (its number, counted from 1).
    """
    if data is None:
        source: object = HUB
        table = read_hub(HUB, "multiple-choice-questions", "test", columns=_COLUMNS)
        questions = read_hub(HUB, "short-answer-questions", "US", columns=("ID", "Topic"))
    else:
        folder = Path(data)
        found = sorted(folder.glob("multiple_choice.*"))
        found = [file for file in found if file.suffix.lower() in SUFFIXES]
        if not found:
            raise CulnigError(f"no multiple_choice.parquet in {folder}: give BLEnD's folder")
        if len(found) > 1:
            names = " and ".join(file.name for file in found)
            raise CulnigError(f"{folder} has {names}: keep one of them")
        source = found[0]
        table = read_table(found[0], _COLUMNS)
        questions = read_table(folder / "questions" / "US_questions.csv", ("ID", "Topic"), key="ID")
    check_once(zip(table["MCQID"], table["country"], strict=True), source, "(MCQID, country)")
    topics = dict(zip(questions["ID"], questions["Topic"], strict=True))
    return _items(table, topics, source, split=split, countries=countries)


def _items(
    table: pd.DataFrame,
    topics: dict[str, str],
    source: object,
    *,
    split: Split,
    countries: tuple[str, ...] | None,
) -> list[Item]:
    # Most of the table is not asked for: the first five rows of each question and country, of
    # the split's categories, are found by columns before a row is parsed.
    unknown = ~table["ID"].isin(topics)
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise CulnigError(
            f"{source}, row {row + 1}: question {table['ID'].iloc[row]!r} has no topic in "
            "US_questions.csv; use the files of one release"
        )
    topic = table["ID"].map(topics)
    strange = ~topic.isin(NEURON_CATEGORIES + TEST_CATEGORIES)
    if strange.any():
        raise CulnigError(f"{source}: unknown topic {topic[strange].iloc[0]!r} in US_questions.csv")
    names = {raw: country_name(raw) for raw in table["country"].unique()}
    keep = topic.isin(categories_of(split))
    keep &= table.groupby(["ID", "country"]).cumcount() < PER_QUESTION
    if countries is not None:
        keep &= table["country"].map(names).isin(countries)
    return [
        _item(row, names[row["country"]], f"{source}, row {number + 1}")
        for number, row in zip(
            keep.to_numpy().nonzero()[0], table[keep].to_dict("records"), strict=True
        )
    ]


def _item(row: dict, country: str, where: str) -> Item:
    try:
        choices = parse_json(row["choices"])
        letters, options = list(choices), list(choices.values())
    except (TypeError, ValueError, AttributeError) as error:
        raise CulnigError(f"{where}: 'choices' is not JSON like {{\"A\": ...}}; mend it") from error
    if row["answer_idx"] not in letters:
        raise CulnigError(
            f"{where}: answer {row['answer_idx']!r} is not among its options {letters}; mend it"
        )
    question, mark, rest = row["prompt"].partition(f" {_INSTRUCTION}")
    if not mark:
        raise CulnigError(f"{where}: 'prompt' has no {_INSTRUCTION!r} after its question; mend it")
    fields = {
        "question": question,
        "prompt": row["prompt"],
        "instruction": f"{_INSTRUCTION}{rest}",
    }
    return Item(
        id=f"{row['MCQID']}/{country}",
        group=country,
        fields=fields,
        options=tuple(text_of(option, "an option in 'choices'", where) for option in options),
        answer=letters.index(row["answer_idx"]),
        shuffle=False,
        question_id=text_of(row["ID"], "'ID'", where),
    )


def country_file(data: str | Path, pattern: str, country: str) -> Path:
    """BLEnD's file of one country: `questions/{}_questions.csv` for the pattern's braces."""
    return Path(data) / pattern.format("US" if country == "USA" else country.replace(" ", "_"))


def load_questions(*, data: str | Path | None = None) -> pd.DataFrame:
    """BLEnD's short-answer questions: in each country's own language, and in English.

    Args:
        data: a folder with `questions/US_questions.csv` and so on, in the schema of the Hub's
            configuration `short-answer-questions`; without it the Hub.

    Returns:
        One row a country and question that is asked in its language: country, language (ISO 639-1
        code), id, topic, local (the question in that language), english.

    Raises:
        CulnigError: a missing file or column.
    """
    columns, local = ("ID", "Topic", "Translation"), "Question"
    parts = []
    for country, language in LANGUAGES.items():
        if data is None:
            split = _SPLITS[country]
            table = read_hub(HUB, "short-answer-questions", split, columns=[*columns, local])
        else:
            table = read_table(
                country_file(data, "questions/{}_questions.csv", country), columns, nested=[local]
            )
        table = table.rename(
            columns={"ID": "id", "Topic": "topic", local: "local", "Translation": "english"}
        )
        # BLEnD has a question that is not written down in one country's language.
        table = table[~table["local"].map(is_blank)]
        parts.append(table.assign(country=country, language=language))
    every = pd.concat(parts, ignore_index=True)
    return every[["country", "language", "id", "topic", "local", "english"]]
