"""WorldValuesBench in its real schema, with answers of our own: the survey's are licensed."""

import itertools
import json
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
from benchmark_rows import METADATA, question, survey

from culnig_tl.errors import CulnigError
from culnig_tl.tasks import load_task
from culnig_tl.tasks.worldvaluesbench import majority_answers

# Of two answers given five times each, the lower; nine of Japan are too few.
PEOPLE = [
    *[("Germany", 4, 0)] * 5, *[("Germany", 2, 1)] * 5, *[("great_britain", 3, -2)] * 10,
    *[("Great Britain", 1, "")] * 2, *[("Nigeria", 1, 2)] * 10, *[("Japan", 1, 1)] * 9,
]  # fmt: skip


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory):
    """The survey's folder, and its instances by id."""
    data = survey(tmp_path_factory.mktemp("survey"), PEOPLE)
    found = load_task("worldvaluesbench", "test", data=data, templates=1)
    return data, {i.id: i for i in found}


def test_the_answer_is_the_majoritys(surveyed):
    assert [(name, i.answer_text) for name, i in surveyed[1].items()] == [
        ("Q1/Germany", "2"),  # of 2 and 4, five times each
        ("Q1/Northern Nigeria", "1"),
        ("Q1/UK", "3"),
        ("Q2/Germany", "0"),
        ("Q2/Northern Nigeria", "2"),
    ]


def test_the_options_are_the_scale(surveyed):
    german, other = surveyed[1]["Q1/Germany"], surveyed[1]["Q2/Germany"]
    assert german.options == german.labels == ("1", "2", "3", "4")
    assert other.options == other.labels == ("0", "1", "2")
    assert "1 at the lowest and 4 at the highest" in german.user


@pytest.mark.parametrize(
    ("country", "credits"),
    [
        ("Germany", (0.5, 1.0, 0.5, 0.0)),  # 1 - |reply - 2| / 2
        ("UK", (0.0, 0.5, 1.0, 0.5)),
        ("Northern Nigeria", pytest.approx((1.0, 2 / 3, 1 / 3, 0.0))),
    ],
)
def test_credits_fall_with_the_distance_from_the_majority(surveyed, country, credits):
    instance = surveyed[1][f"Q1/{country}"]
    assert (instance.group, instance.credits) == (country, credits)


def test_a_country_is_named_as_the_survey_names_it(surveyed):
    british, nigerian = (surveyed[1][f"Q1/{name}"] for name in ("UK", "Northern Nigeria"))
    assert "the UK" in british.system
    assert "Nigeria" in nigerian.system
    assert "Northern" not in nigerian.system


def test_the_survey_of_one_country(surveyed):
    data, found = surveyed
    only = load_task("worldvaluesbench", "test", groups=["UK"], data=data, templates=1)
    assert only == [found["Q1/UK"]]


def test_majorities_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    scales = {"Q1": (1, 4), "Q2": (0, 2), "Q3": (1, 2)}
    seen = set()
    for size in (5, 60, 400):
        country = pd.Series(
            rng.choice(["Spain", "Iran", "Chile", "Japan"], size, p=[0.6, 0.2, 0.15, 0.05])
        )
        answers = pd.DataFrame(
            {
                q: rng.integers(least, most + 1, size).astype(float)
                for q, (least, most) in scales.items()
            }
        ).mask(rng.random((size, 3)) < 0.2)
        expected = {}
        for q, where in itertools.product(scales, country.unique()):
            counts: dict[int, int] = defaultdict(int)
            for here, answer in zip(country, answers[q], strict=True):
                if here == where and not np.isnan(answer):
                    counts[int(answer)] += 1
            if sum(counts.values()) >= 10:
                expected[q, where] = min(counts, key=lambda a, c=counts: (-c[a], a))
                seen.add(max(Counter(counts.values()).items())[1] > 1)
        assert majority_answers(answers, country, scales) == expected
    assert seen == {True, False}  # with and without ties


def test_real_worldvaluesbench_questions(shared, tmp_path):
    """The real questions, with answers drawn at random: theirs are licensed."""
    metadata = json.loads((shared / "data/worldvaluesbench/question_metadata.json").read_text())
    rng = np.random.default_rng(0)
    kept = 0
    table: dict = {"D_INTERVIEW": range(40)}
    for name, entry in metadata.items():
        if (entry["use_case"], entry["answer_data_type"]) == ("value", "ordinal"):
            least, most = entry["answer_scale_min"], entry["answer_scale_max"]
            table[name] = rng.integers(least, most + 1, 40)
            kept += most <= 9
    survey(tmp_path, [("China", 1, 1)], metadata)
    pd.DataFrame(table).to_csv(tmp_path / "full_value_qa.tsv", sep="\t", index=False)
    pd.DataFrame({"D_INTERVIEW": range(40), "B_COUNTRY": ["China", "Peru"] * 20}).to_csv(
        tmp_path / "full_demographic_qa.tsv", sep="\t", index=False
    )
    found = load_task("worldvaluesbench", "test", data=tmp_path, templates=1)
    assert kept == 189
    assert Counter(i.group for i in found) == {"China": 189, "Peru": 189}


def test_worldvaluesbench_without_data():
    with pytest.raises(
        CulnigError, match=r"is licensed .* https://github.com/Demon702/WorldV"
    ) as caught:
        load_task("worldvaluesbench", "test")
    assert "\n" not in str(caught.value)


GOOD = [("Germany", 1, 1)] * 12


@pytest.mark.parametrize(
    ("people", "metadata", "message"),
    [
        (
            [*GOOD, ("Spain", 5, 1)],
            METADATA,
            r"full_value_qa\.tsv, row 13: answer 5 to Q1 is not on its scale, 1 to 4; correct it, or -1",
        ),
        ([("Spain", 0, 1), *GOOD], METADATA, "row 1: answer 0 to Q1 is not on its scale"),
        (
            [("Spain", 1, 1.5), *GOOD],
            METADATA,
            "row 1: answer 1.5 to Q2 is not on its scale, 0 to 2",
        ),
        (
            [*GOOD, ("Spain", "often", 1)],
            METADATA,
            "row 13: answer often to Q1 is not on its scale",
        ),
        (
            [*GOOD, ("", 1, 1)],
            METADATA,
            r"full_demographic_qa\.tsv, row 1: column 'B_COUNTRY' is empty",
        ),
        (
            GOOD,
            METADATA | {"Q3": METADATA["Q1"]},
            r"full_value_qa\.tsv has no column 'Q3': its columns are",
        ),
        (
            GOOD,
            METADATA | {"Q1": question("How?", "", 4)},
            "question 'Q1' has no text or no scale; mend it",
        ),
        *(
            (GOOD, METADATA | {"Q1": question(*wrong)}, "question 'Q1' has no text or no scale")
            for wrong in (("How?", 4, 1), ("How?", True, 4), ("How?", 1.5, 4), (" ", 1, 4))
        ),
        (GOOD, METADATA | {"Q1": "How?"}, "question 'Q1' is not an object; mend it"),
        (
            GOOD,
            {"Q48": METADATA["Q48"]},
            "has no ordinal value question; use WorldValuesBench's own",
        ),
        (GOOD, [], "is not an object of questions; use WorldValuesBench's own"),
    ],
)
def test_malformed_worldvaluesbench(people, metadata, message, tmp_path):
    with pytest.raises(CulnigError, match=message) as caught:
        load_task("worldvaluesbench", "test", data=survey(tmp_path, people, metadata))
    assert "\n" not in str(caught.value)


def test_a_participant_without_a_country(tmp_path):
    demographic = survey(tmp_path, GOOD) / "full_demographic_qa.tsv"
    lines = demographic.read_text().splitlines()
    demographic.write_text("\n".join(lines[:-3]) + "\n")
    with pytest.raises(
        CulnigError, match=r"value_qa\.tsv, row 1: participant 1000 is not in full_d"
    ):
        load_task("worldvaluesbench", "test", data=tmp_path)


def test_a_participant_with_two_countries(tmp_path):
    demographic = survey(tmp_path, GOOD) / "full_demographic_qa.tsv"
    lines = demographic.read_text().splitlines()
    demographic.write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(
        CulnigError, match=r"graphic_qa\.tsv, row 13: D_INTERVIEW '1000' is that of row 12"
    ):
        load_task("worldvaluesbench", "test", data=tmp_path)


def test_a_file_without_the_countries(tmp_path):
    demographic = survey(tmp_path, GOOD) / "full_demographic_qa.tsv"
    demographic.write_text(demographic.read_text().replace("B_COUNTRY", "where"))
    with pytest.raises(CulnigError, match=r"full_demographic_qa\.tsv has no column 'B_COUNTRY'"):
        load_task("worldvaluesbench", "test", data=tmp_path)


def test_a_survey_without_its_answers(tmp_path):
    (survey(tmp_path, GOOD) / "full_value_qa.tsv").unlink()
    with pytest.raises(CulnigError, match=r"no file .*full_value_qa\.tsv: check the path"):
        load_task("worldvaluesbench", "test", data=tmp_path)


def test_a_folder_without_the_survey(tmp_path):
    with pytest.raises(CulnigError, match=r"no file .*question_metadata\.json"):
        load_task("worldvaluesbench", "test", data=tmp_path / "elsewhere")
