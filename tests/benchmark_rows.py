"""Rows of our own in the benchmarks' schemas, and files of them."""

import json
from pathlib import Path

import pandas as pd

FOUR_TEMPLATES = (
    "countryrc",
    "culturalbench",
    "normad",
    "worldvaluesbench",
    "commonsenseqa",
    "qnli",
    "mrpc",
)


def culturalbench_row(number: int = 0, **changes) -> dict:
    return {
        "data_idx": number,
        "prompt_question": f"What is thrown into the sea at festival {number} of this country?",
        "prompt_option_a": "Flowers",
        "prompt_option_b": "Bread",
        "prompt_option_c": "Old boats",
        "prompt_option_d": "Nothing",
        "answer": "B",
        "country": "South Korea",
    } | changes


def normad_row(number: int = 0, **changes) -> dict:
    return {
        "ID": number,
        "Country": "united_states_of_america",
        "Background": "Some background.",
        "Axis": "Visiting",
        "Subaxis": "visiting",
        "Value": "Be on time.",
        "Rule-of-Thumb": "Guests ring first.",
        "Story": f"Ann came to house {number} and rang the bell.",
        "Explanation": "She rang.",
        "Gold Label": "yes",
    } | changes


def commonsenseqa_row(number: int = 0, **changes) -> dict:
    texts = ["shelf", "river", "sky", "shoe", "pocket"]
    return {
        "id": f"c{number}",
        "question": f"Where does book {number} stand?",
        "question_concept": "book",
        "choices": {"label": list("ABCDE"), "text": texts},
        "answerKey": "A",
    } | changes


def qnli_row(number: int = 0, **changes) -> dict:
    return {
        "idx": number,
        "question": f"Who built bridge {number}?",
        "sentence": "It was built by monks.",
        "label": 0,
    } | changes


def mrpc_row(number: int = 0, **changes) -> dict:
    return {
        "idx": number,
        "sentence1": f"Shop {number} closed on Monday.",
        "sentence2": f"On Monday shop {number} shut.",
        "label": 1,
    } | changes


def everyday_row(number: int, **changes) -> dict:
    answers = {"China": "rice", "Spain": "bread", "UK": "chips", "USA": "corn", "Iran": "saffron"}
    return (
        {
            "id": f"q{number}",
            "category": "Food",
            "question": f"What is eaten in {{country}} on day {number}?",
        }
        | answers
        | changes
    )


QUESTIONS = [
    {"ID": "Al-1", "Topic": "Food"},
    {"ID": "Al-2", "Topic": "Sport"},
    {"ID": "Al-3", "Topic": "Family"},
]
INSTRUCTION = "Without any explanation, choose only one (e.g., A, B, C)."


def blend_row(number: int, question: str = "Al-1", country: str = "US", **changes) -> dict:
    choices = {"A": f"rice {number}", "B": "soup", "C": "fish", "D": "nuts"}
    listing = "\n".join(f"{x}. {o}" for x, o in choices.items())
    return {
        "MCQID": f"{question}_{number}",
        "ID": question,
        "country": country,
        "prompt": f"What of {question}? {INSTRUCTION}\n\n{listing}\n\nAnswer:",
        "choices": json.dumps(choices),
        "answer_idx": "C",
    } | changes


ROWS = {
    "culturalbench": culturalbench_row,
    "normad": normad_row,
    "commonsenseqa": commonsenseqa_row,
    "qnli": qnli_row,
    "mrpc": mrpc_row,
}


def table_file(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def question(text: str, least, most, **changes) -> dict:
    return {
        "question": text,
        "category": "Some values",
        "use_case": "value",
        "answer_scale_min": least,
        "answer_scale_max": most,
        "answer_data_type": "ordinal",
    } | changes


METADATA = {
    "B_COUNTRY": question(
        "Country?", "", "", use_case="demographic", answer_data_type="non_ordinal"
    ),
    "Q1": question("On a scale of 1 to 4, how important is family?", 1, 4),
    "Q2": question("Are you a member, 0 to 2?", 0, 2),
    "Q48": question("On a scale of 1 to 10, how free are you?", 1, 10),
}


def survey(folder: Path, people: list[tuple], metadata: dict = METADATA) -> Path:
    """A folder in WorldValuesBench's schema; `people` are (country, answer to Q1, to Q2)."""
    rows = [
        {"D_INTERVIEW": 1000 + i, "B_COUNTRY": country, "Q1": one, "Q2": two, "Q48": 10}
        for i, (country, one, two) in enumerate(people)
    ]
    table = pd.DataFrame(rows)
    table.iloc[::-1][["D_INTERVIEW", "B_COUNTRY"]].to_csv(
        folder / "full_demographic_qa.tsv", sep="\t", index=False
    )
    table.drop(columns="B_COUNTRY").to_csv(folder / "full_value_qa.tsv", sep="\t", index=False)
    (folder / "question_metadata.json").write_text(json.dumps(metadata))
    return folder


def some_survey(folder: Path) -> Path:
    return survey(folder, [("Germany", 1, 0)] * 6 + [("Germany", 3, 2)] * 6 + [("USA", 2, 1)] * 9)


def data_of(name: str, folder: Path) -> Path | None:
    if name == "countryrc":
        return None
    if name == "worldvaluesbench":
        return some_survey(folder)
    return table_file(folder / f"{name}.jsonl", [ROWS[name](i) for i in range(3)])
