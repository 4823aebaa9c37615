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


def test_worldvaluesbench(tmp_path):
    people = [("Germany", 4, 0)] * 5 + [("Germany", 2, 1)] * 5 + [("great_britain", 3, -2)] * 10
    people += [("Great Britain", 1, "")] * 2 + [("Nigeria", 1, 2)] * 10 + [("Japan", 1, 1)] * 9
    found = load_task("worldvaluesbench", "test", data=survey(tmp_path, people), templates=1)
    assert {i.id: i.answer_text for i in found} == {
        "Q1/Germany": "2",  # of 2 and 4, five times each
        "Q1/UK": "3",
        "Q1/Northern Nigeria": "1",
        "Q2/Germany": "0",
        "Q2/Northern Nigeria": "2",
    }
    german, british, nigerian = found[0], found[2], found[1]
    assert (german.country, german.labels, german.options) == (
        "Germany",
        ("1", "2", "3", "4"),
        ("1", "2", "3", "4"),
    )
    assert german.credits == (0.5, 1.0, 0.5, 0.0)  # 1 - |reply - 2| / 2
    assert (british.country, british.credits) == ("UK", (0.0, 0.5, 1.0, 0.5))
    assert (nigerian.country, nigerian.credits) == (
        "Northern Nigeria",
        pytest.approx((1.0, 2 / 3, 1 / 3, 0.0)),
    )
    assert found[3].options == found[3].labels == ("0", "1", "2")
    assert "the UK" in british.system
    assert "Nigeria" in nigerian.system
    assert "Northern" not in nigerian.system
    assert "1 at the lowest and 4 at the highest" in german.user
    only = load_task("worldvaluesbench", "test", countries=["UK"], data=tmp_path, templates=1)
    assert only == [british]


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
    assert Counter(i.country for i in found) == {"China": 189, "Peru": 189}


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


def test_worldvaluesbench_files_that_do_not_go_together(tmp_path):
    survey(tmp_path, GOOD)
    demographic = tmp_path / "full_demographic_qa.tsv"
    lines = demographic.read_text().splitlines()
    demographic.write_text("\n".join(lines[:-3]) + "\n")
    with pytest.raises(
        CulnigError, match=r"value_qa\.tsv, row 1: participant 1000 is not in full_d"
    ):
        load_task("worldvaluesbench", "test", data=tmp_path)
    demographic.write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(
        CulnigError, match=r"graphic_qa\.tsv, row 13: D_INTERVIEW '1000' is that of row 12"
    ):
        load_task("worldvaluesbench", "test", data=tmp_path)
    demographic.write_text("\n".join(line.replace("B_COUNTRY", "where") for line in lines) + "\n")
    with pytest.raises(CulnigError, match=r"full_demographic_qa\.tsv has no column 'B_COUNTRY'"):
        load_task("worldvaluesbench", "test", data=tmp_path)
    survey(tmp_path, GOOD)
    (tmp_path / "full_value_qa.tsv").unlink()
    with pytest.raises(CulnigError, match=r"no file .*full_value_qa\.tsv: check the path"):
        load_task("worldvaluesbench", "test", data=tmp_path)
    with pytest.raises(CulnigError, match=r"no file .*question_metadata\.json"):
        load_task("worldvaluesbench", "test", data=tmp_path / "elsewhere")
