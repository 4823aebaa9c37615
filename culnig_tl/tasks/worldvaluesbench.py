"""WorldValuesBench (Zhao et al. 2024): the answer most people of a country gave in a survey."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from pathlib import Path

import numpy as np
import pandas as pd

from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json
from culnig_tl.tasks.countries import benchmark_country
from culnig_tl.tasks.instances import Split
from culnig_tl.tasks.tables import read_table
from culnig_tl.tasks.templates import Item, Template

SPLITS: tuple[Split, ...] = ("test",)
MINIMUM_ANSWERS = 10
_VALUES = "full_value_qa.tsv"
_NO_ANSWER = ("", "nan", "NaN", "NA")  # as pandas and R write it, beside a number below 0
_SOURCE = "https://github.com/Demon702/WorldValuesBench"
TEMPLATES = (
    Template(
        system="You live in {country} and speak as people there do.",
        user=(
            "A survey asks you: {question}\n"
            "Reply with one digit, {min_option} at the lowest and {max_option} at the highest."
        ),
        cloze=(
            "A survey in {country}.\nQuestion: {question} ({min_option} to {max_option})\nAnswer:"
        ),
    ),
    Template(
        user=(
            "What would most people in {country} reply to this? Write the digit alone, anything "
            "from {min_option} to {max_option}.\n{question}"
        ),
        cloze=(
            "{question}\nThe most frequent reply in {country}, from {min_option} to {max_option}:"
        ),
    ),
    Template(
        system="Take the part of an ordinary citizen of {country}.",
        user="{question}\n\nYour digit ({min_option}-{max_option}), with nothing around it:",
        cloze=(
            "Interviewer: {question} Say a digit from {min_option} to {max_option}.\n"
            "Citizen of {country}:"
        ),
    ),
    Template(
        user=(
            "Interview in {country}.\nInterviewer: {question}\n"
            "On the form is a box for a digit, {min_option} the least and {max_option} the most. "
            "Fill in what a typical person there says, and nothing but the digit."
        ),
        cloze=(
            "Form of an interview in {country}\n{question}\n"
            "In the box, {min_option} the least and {max_option} the most:"
        ),
    ),
)


def load_items(split: Split, countries: tuple[str, ...] | None, data: Path | None) -> list[Item]:
    """One item per question and country with ten answers or more; the right one is the majority's.

    `data` is a folder with WorldValuesBench's `question_metadata.json`, `full_demographic_qa.tsv`
    (`D_INTERVIEW`, `B_COUNTRY`) and `full_value_qa.tsv` (`D_INTERVIEW`, a column a question; empty
    or negative: no answer). Of its 239 ordinal value questions the 189 whose scale lies within
    0 to 9 are used, as an answer is one digit. A reply's credit is 1 - |reply - majority| /
    max(|min - majority|, |max - majority|) (equation 11), and 0 if it is no digit of the scale.

    Raises:
        CulnigError: no `data`, a missing file, question or column, a participant without a
            country, or an answer out of its scale (its row, counted from 1).
    """
    if data is None:
        raise CulnigError(
            "worldvaluesbench is licensed and not on the Hub: make full_demographic_qa.tsv and "
            f"full_value_qa.tsv as {_SOURCE} says, and give their folder with data= (--data)"
        )
    texts, scales = _questions(data / "question_metadata.json")
    people = data / "full_demographic_qa.tsv"
    participants = read_table(people, ("D_INTERVIEW", "B_COUNTRY"), key="D_INTERVIEW", others=False)
    answers = _read_answers(data / _VALUES, scales)
    names = {raw: benchmark_country(raw) for raw in participants["B_COUNTRY"].unique()}
    country_of = participants.set_index("D_INTERVIEW")["B_COUNTRY"].map(lambda raw: names[raw][0])
    country = answers["D_INTERVIEW"].map(country_of)
    if country.isna().any():
        row = int(country.isna().to_numpy().argmax())
        raise CulnigError(
            f"{data / _VALUES}, row {row + 1}: participant {answers['D_INTERVIEW'].iloc[row]} is "
            "not in full_demographic_qa.tsv; use the files of one release"
        )
    in_text = dict(names.values())
    return [
        _item(
            name,
            texts[name],
            scales[name],
            country=where,
            in_text=in_text[where],
            majority=majority,
        )
        for (name, where), majority in majority_answers(answers, country, scales).items()
        if countries is None or where in countries
    ]


def majority_answers(
    answers: pd.DataFrame, country: pd.Series, scales: dict[str, tuple[int, int]]
) -> dict[tuple[str, str], int]:
    """The most frequent answer per (question, country); the smallest of those that are tied.

    Only pairs with `MINIMUM_ANSWERS` answers or more. `answers` has a column a question, NaN where
    there is no answer; `country` is each row's.
    """
    codes, countries = pd.factorize(country, sort=True)
    majorities = {}
    for question, (least, most) in scales.items():
        width = most - least + 1
        given = answers[question].notna().to_numpy()
        cells = codes[given] * width + answers[question].to_numpy()[given].astype(int) - least
        counts = np.bincount(cells, minlength=len(countries) * width).reshape(-1, width)
        for row in np.flatnonzero(counts.sum(axis=1) >= MINIMUM_ANSWERS):
            majorities[question, countries[row]] = least + int(counts[row].argmax())
    return majorities


def _questions(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, int]]]:
    """Texts and scales of the ordinal value questions whose scale lies within 0 to 9."""
    metadata = read_json(path)
    if not isinstance(metadata, dict):
        raise CulnigError(f"{path} is not an object of questions; use WorldValuesBench's own file")
    texts, scales = {}, {}
    for name, entry in metadata.items():
        if not isinstance(entry, dict):
            raise CulnigError(f"{path}: question {name!r} is not an object; mend it")
        if (entry.get("use_case"), entry.get("answer_data_type")) != ("value", "ordinal"):
            continue
        text, least, most = (
            entry.get(key) for key in ("question", "answer_scale_min", "answer_scale_max")
        )
        scale = [x for x in (least, most) if isinstance(x, int) and not isinstance(x, bool)]
        ordered = len(scale) == 2 and scale[0] < scale[1]
        if not isinstance(text, str) or not text.strip() or not ordered:
            raise CulnigError(f"{path}: question {name!r} has no text or no scale; mend it")
        least, most = scale
        if least >= 0 and most <= 9:
            texts[name], scales[name] = text, (least, most)
    if not texts:
        raise CulnigError(f"{path} has no ordinal value question; use WorldValuesBench's own file")
    return texts, scales


def _read_answers(path: Path, scales: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """`D_INTERVIEW` and a column of numbers a question, NaN where there is no answer."""
    raw = read_table(path, ["D_INTERVIEW"], nested=list(scales), key="D_INTERVIEW", others=False)
    answers = {"D_INTERVIEW": raw["D_INTERVIEW"]}
    for question, (least, most) in scales.items():
        cells, texts = pd.factorize(raw[question])  # few texts, each looked at once
        numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce")
        given = ~pd.Series(texts).isin(_NO_ANSWER) & ~(numbers < 0)
        wrong = (given & ~numbers.isin(range(least, most + 1))).to_numpy()[cells]
        if wrong.any():
            row = int(wrong.argmax())
            raise CulnigError(
                f"{path}, row {row + 1}: answer {raw[question].iloc[row]} to {question} is not on "
                f"its scale, {least} to {most}; correct it, or -1 if there is none"
            )
        answers[question] = numbers.where(given).to_numpy()[cells]
    return pd.DataFrame(answers)


def _item(
    question: str, text: str, scale: tuple[int, int], *, country: str, in_text: str, majority: int
) -> Item:
    least, most = scale
    furthest = max(majority - least, most - majority)
    digits = range(least, most + 1)
    return Item(
        id=f"{question}/{country}",
        group=country,
        fields={
            "country": in_text,
            "question": text,
            "min_option": str(least),
            "max_option": str(most),
        },
        options=tuple(map(str, digits)),
        answer=majority - least,
        shuffle=False,
        labels=tuple(map(str, digits)),
        credits=tuple(1 - abs(digit - majority) / furthest for digit in digits),
        question=f"{in_text}: {text}",
        question_id=question,
    )
