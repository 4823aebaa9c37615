"""The paper's benchmarks as tasks, templates by number, credits, and a task of one's own."""

import itertools
import json
import string
from collections import Counter, defaultdict
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from culnig_tl.comparison import by_country, compare
from culnig_tl.errors import CulnigError
from culnig_tl.evaluation import _row
from culnig_tl.instances import Instance
from culnig_tl.prompts import Prompt
from culnig_tl.study import Study, _check_same, _load_data, read_evaluation, write_evaluation
from culnig_tl.tasks import TASKS, Item, Task, Template, load_task
from culnig_tl.tasks.templates import render
from culnig_tl.tasks.worldvaluesbench import majority_answers

SHARED = Path(__file__).resolve().parents[2] / "shared"
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


@pytest.fixture(scope="module")
def shared() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data in {SHARED}")
    return SHARED


# Templates


def test_how_many_templates_each_task_has():
    counts = {name: len(task.templates) for name, task in TASKS.items()}
    assert counts == {
        name: 4 if name in FOUR_TEMPLATES else 1
        for name in ("everyday", "blend", "commonsense", "paraphrase", *FOUR_TEMPLATES)
    }
    assert all(TASKS[name].splits == ("test",) for name in FOUR_TEMPLATES[1:])


@pytest.mark.parametrize("name", FOUR_TEMPLATES)
def test_templates_differ_and_say_everything(name, tmp_path):
    found = load_task(name, "test", data=data_of(name, tmp_path))
    assert len({(i.id, i.template) for i in found}) == len(found)
    assert Counter(i.template for i in found) == dict.fromkeys(range(4), len(found) // 4)
    for kind in ("user", "cloze"):
        texts = {getattr(template, kind) for template in TASKS[name].templates}
        assert len(texts) == 4
        for template in TASKS[name].templates:
            asked = named(getattr(template, kind)) | (
                named(template.system) if kind == "user" else set()
            )
            assert named(TASKS[name].templates[0].cloze) <= asked
    for instance in found:
        assert "{" not in instance.user + instance.system + instance.cloze
        assert instance.cloze == instance.cloze.strip()
        assert all(label in instance.user for label in instance.labels[:: len(instance.labels) - 1])


@pytest.mark.parametrize("name", FOUR_TEMPLATES)
def test_the_papers_templates(name, tmp_path, shared):
    path = shared / "paper" / "prompts.json"
    wording = json.loads(path.read_text())[name]
    data = data_of(name, tmp_path)
    fields = set(TASKS[name].load_items("test", None, data)[0].fields)
    for entry in wording:
        asked = named(entry["user"]) | named(entry.get("system", ""))
        assert {field for field in asked if not field.startswith("option")} == fields
    found = load_task(name, "test", data=data, templates=path)
    assert Counter(i.template for i in found) == dict.fromkeys(range(4), len(found) // 4)
    assert not any("{" in i.user + i.system for i in found)
    own = {template.user for template in TASKS[name].templates}
    assert not own & {entry["user"] for entry in wording}


def named(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_templates_by_number():
    everything = load_task("countryrc", "test")
    for count in (1, 2, 4, 9):
        found = load_task("countryrc", "test", templates=count)
        assert found == [i for i in everything if i.template < count]
    assert load_task("countryrc", "neuron") == load_task("countryrc", "neuron", templates=1)
    assert {i.template for i in load_task("countryrc", "neuron", templates=3)} == {0, 1, 2}
    with pytest.raises(CulnigError, match="templates is 0: give 1 or more, or a JSON file"):
        load_task("countryrc", "test", templates=0)


def test_the_study_asks_with_as_many_templates_as_it_is_told():
    one, two = (
        _load_data(Study(limit=16, test_limit=16, rc_limit=8, other_limit=8, template_count=count))
        for count in (1, 2)
    )
    assert {i.template for name in one for i in one[name]} == {0}
    assert one["countryrc test"] == [i for i in two["countryrc test"] if i.template == 0]
    assert len(two["countryrc test"]) == 16
    for name in set(one) - {"countryrc test"}:
        assert one[name] == two[name]


def test_a_run_from_before_the_template_count_goes_on():
    before = {"arguments": {"seeds": 2}, "datasets": {}}
    _check_same(before, {"seeds": 2, "template_count": 1}, {}, Path("out"))
    with pytest.raises(
        CulnigError, match="out holds a run with template_count = 1, this one has 4"
    ):
        _check_same(before, {"seeds": 2, "template_count": 4}, {}, Path("out"))


# One task after another


def test_culturalbench(tmp_path):
    rows = [
        culturalbench_row(7),
        culturalbench_row(8, answer="d", country="United States"),
        culturalbench_row(9, country="Germany"),
    ]
    path = table_file(tmp_path / "c.jsonl", rows)
    found = load_task("culturalbench", "test", data=path, templates=1)
    assert [i.id for i in found] == ["7", "8", "9"]
    assert [i.country for i in found] == ["South Korea", "USA", "Germany"]
    assert [i.answer_text for i in found] == ["Bread", "Nothing", "Bread"]
    assert set(found[0].options) == {"Flowers", "Bread", "Old boats", "Nothing"}
    assert found[0].cloze == f"Question: {rows[0]['prompt_question']}\nAnswer:"
    assert {"".join(i.labels) for i in load_task("culturalbench", "test", data=path)} == {
        "ABCD",
        "1234",
    }
    (american,) = load_task("culturalbench", "test", countries=["us"], data=path, templates=1)
    assert american == found[1]
    with pytest.raises(CulnigError, match="unknown country 'Germany': choose from Algeria, Assam"):
        load_task("culturalbench", "test", countries=["Germany"], data=path)


def test_normad(tmp_path):
    labels = ("yes", "no", "neutral", "Yes")
    rows = [normad_row(i, **{"Gold Label": label}) for i, label in enumerate(labels)]
    rows[1]["Country"] = "nigeria"
    path = table_file(tmp_path / "n.jsonl", rows)
    found = load_task("normad", "test", data=path)
    assert [i.answer_text for i in found] == ["Yes", "No", "Neutral", "Yes"] * 4
    assert {i.labels for i in found} == {("1", "2", "3")}
    assert len({i.options for i in found}) > 1  # shuffled
    for instance in found:
        listing = "\n".join(f"{n}. {option}" for n, option in enumerate(instance.options, 1))
        assert listing in instance.user
    assert [found[0].country, found[1].country] == ["USA", "Northern Nigeria"]
    assert "in the US" in found[0].user
    assert "in Nigeria" in found[1].user


def test_real_commonsenseqa(shared):
    path = shared / "data" / "commonsense_qa" / "validation_sample.jsonl"
    rows = {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}
    found = load_task("commonsenseqa", "test", data=path)
    # Such as the one with "indestructible" twice.
    twins = [i for i, row in rows.items() if len(set(row["choices"]["text"])) < 5]
    assert len(rows) == 200
    assert len(twins) == 5
    assert {i.id for i in found if i.template == 0} == set(rows) - set(twins)
    assert len(found) == 4 * 195
    for instance in found:
        row = rows[instance.id.split("#")[0]]
        texts = dict(zip(row["choices"]["label"], row["choices"]["text"], strict=True))
        assert instance.country is None
        assert instance.answer_text == texts[row["answerKey"]]
        assert Counter(instance.options) == Counter(texts.values())
        assert "".join(instance.labels) in ("ABCDE", "12345")
        assert all(
            f"{x}. {o}" in instance.user
            for x, o in zip(instance.labels, instance.options, strict=True)
        )
        assert row["question"] in instance.cloze


@pytest.mark.parametrize(
    ("name", "file", "fields", "options"),
    [
        ("qnli", "qnli_validation_sample.jsonl", ("question", "sentence"), ("Yes", "No")),
        ("mrpc", "mrpc_test_sample.jsonl", ("sentence1", "sentence2"), ("No", "Yes")),
    ],
)
def test_real_glue(shared, name, file, fields, options):
    path = shared / "data" / "glue" / file
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = load_task(name, "test", data=path)
    assert len(found) == 4 * len(rows) == 800
    for instance, row in zip(found, rows * 4, strict=True):
        assert instance.id.split("#")[0] == str(row["idx"])
        assert instance.answer == row["label"]
        assert (instance.labels, instance.options) == (("0", "1"), options)
        for field in fields:
            assert row[field].strip() in instance.user
            assert row[field].strip() in instance.cloze
    assert {i.answer for i in found} == {0, 1}


@pytest.mark.parametrize("name", ["commonsenseqa", "culturalbench"])
def test_rows_with_an_option_twice_are_left_out(name, tmp_path, caplog):
    twin = (
        {"choices": {"label": list("ABCDE"), "text": ["a", "b", "B ", "c", "d"]}}
        if name == "commonsenseqa"
        else {"prompt_option_c": "flowers"}
    )
    rows = [ROWS[name](0), ROWS[name](1, **twin), ROWS[name](2)]
    found = load_task(name, "test", data=table_file(tmp_path / "a.jsonl", rows), templates=1)
    assert [i.id[-1] for i in found] == ["0", "2"]
    assert f"{name}: 1 of 3 items have an option twice and are left out" in caplog.text


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
@pytest.mark.parametrize("name", ROWS)
def test_every_kind_of_file_gives_the_same(name, suffix, tmp_path):
    rows = [ROWS[name](i) for i in range(3)]
    expected = load_task(name, "test", data=table_file(tmp_path / "a.jsonl", rows))
    path = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        cells = [{k: json.dumps(v) if k == "choices" else v for k, v in r.items()} for r in rows]
        pd.DataFrame(cells).to_csv(path, index=False)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        pd.DataFrame(rows).to_parquet(path)
    assert load_task(name, "test", data=path) == expected


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("culturalbench", ("kellycyy/CulturalBench", "CulturalBench-Easy", "test")),
        ("normad", ("akhilayerukola/NormAd", None, "train")),
        ("commonsenseqa", ("tau/commonsense_qa", None, "validation")),
        ("qnli", ("nyu-mll/glue", "qnli", "validation")),
        ("mrpc", ("nyu-mll/glue", "mrpc", "test")),
    ],
)
def test_from_the_hub_is_as_from_a_file(name, address, tmp_path, monkeypatch):
    asked = []

    def load_dataset(name, config=None, *, split):
        asked.append((name, config, split))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    rows = [ROWS[name](i) for i in range(3)]
    expected = load_task(name, "test", data=table_file(tmp_path / "a.jsonl", rows))
    assert load_task(name, "test") == expected
    assert asked == [address]
    rows[1][
        next(k for k in rows[1] if "question" in k.lower() or "entence" in k or k == "Story")
    ] = " "
    with pytest.raises(CulnigError, match=rf"^{address[0]}, row 2: column '\w+' is empty; fill it"):
        load_task(name, "test")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("culturalbench", {"answer": "E"}, "row 2: answer 'E' is not one of A, B, C, D; mend it"),
        ("culturalbench", {"country": ""}, "row 2: column 'country' is empty; fill it or drop it"),
        ("culturalbench", {"answer": None}, "no column 'answer': its columns are"),
        (
            "normad",
            {"Gold Label": "maybe"},
            "row 2: label 'maybe' is not one of yes, no, neutral; m",
        ),
        ("normad", {"Story": None}, "no column 'Story': its columns are"),
        (
            "commonsenseqa",
            {"answerKey": "F"},
            r"row 2: answer 'F' is not among its options \['A', ",
        ),
        ("commonsenseqa", {"answerKey": ""}, "row 2: column 'answerKey' is empty; fill it"),
        ("commonsenseqa", {"choices": None}, "no column 'choices': its columns are"),
        ("commonsenseqa", {"choices": ["a"]}, "row 2: 'choices' is not like .*; mend it"),
        (
            "commonsenseqa",
            {"choices": {"label": ["A"]}},
            "row 2: 'choices' is not like .*; mend it",
        ),
        (
            "commonsenseqa",
            {"choices": {"label": list("ABCD"), "text": list("wxyz")}},
            "row 2: 'choices' has 4 labels and 4 texts; give five each",
        ),
        (
            "qnli",
            {"label": -1},
            "row 2: label '-1' is neither 0 nor 1; use a split that is labelled",
        ),
        ("qnli", {"sentence": None}, "no column 'sentence': its columns are"),
        ("mrpc", {"label": 2}, "row 2: label '2' is neither 0 nor 1; use a split that is labelled"),
        ("mrpc", {"sentence2": " "}, "row 2: column 'sentence2' is empty"),
    ],
)
def test_malformed_rows(name, changes, message, tmp_path):
    """A change to None takes the column away, from every row."""
    rows = [ROWS[name](0), ROWS[name](1, **changes), ROWS[name](2)]
    gone = {key for key, value in changes.items() if value is None}
    rows = [{key: value for key, value in row.items() if key not in gone} for row in rows]
    with pytest.raises(CulnigError, match=rf"mine\.jsonl(,| has) {message}") as caught:
        load_task(name, "test", data=table_file(tmp_path / "mine.jsonl", rows))
    assert "\n" not in str(caught.value)


# WorldValuesBench


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
    only = load_task("worldvaluesbench", "test", ["UK"], data=tmp_path, templates=1)
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
            r"full_value_qa\.tsv has no column 'Q3'; use the files of",
        ),
        (
            GOOD,
            METADATA | {"Q1": question("How?", "", 4)},
            "question 'Q1' has no text or no scale; mend it",
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
    with pytest.raises(CulnigError, match=r"participant 1000 has two rows of full_demographic_qa"):
        load_task("worldvaluesbench", "test", data=tmp_path)
    demographic.write_text("\n".join(line.replace("B_COUNTRY", "where") for line in lines) + "\n")
    with pytest.raises(CulnigError, match=r"full_demographic_qa\.tsv has no column 'B_COUNTRY'"):
        load_task("worldvaluesbench", "test", data=tmp_path)
    survey(tmp_path, GOOD)
    (tmp_path / "full_value_qa.tsv").unlink()
    with pytest.raises(CulnigError, match=r"cannot read .*full_value_qa\.tsv: .*No such file"):
        load_task("worldvaluesbench", "test", data=tmp_path)
    with pytest.raises(CulnigError, match=r"no file .*question_metadata\.json"):
        load_task("worldvaluesbench", "test", data=tmp_path / "elsewhere")


# Credits


def graded(credits: tuple[float, ...] | None = (0.0, 0.5, 1.0), number: int = 0) -> Instance:
    return Instance(
        id=f"Q1/{number}",
        task="worldvaluesbench",
        split="test",
        country=("Iran", "Peru")[number % 2],
        template=0,
        options=("1", "2", "3"),
        answer=2,
        cloze="How?\nAnswer:",
        user="How?",
        labels=("1", "2", "3"),
        credits=credits,
    )


@pytest.mark.parametrize(
    ("credits", "likeliest", "written", "expected"),
    [
        ((0.0, 0.5, 1.0), 1, 1, (0.5, 0.5)),
        ((0.0, 0.5, 1.0), 2, 2, (1.0, 1.0)),
        ((0.0, 0.5, 1.0), 1, None, (0.5, 0.0)),
        (None, 2, 2, (True, True)),
        (None, 1, 1, (False, False)),
        (None, 2, None, (True, False)),
    ],
)
def test_a_row_has_the_credit_of_the_option(credits, likeliest, written, expected):
    prompt = Prompt(graded(credits), (1, 2), ((3,), (4,), (5,)))
    logs = [torch.tensor([-1.0 if option == likeliest else -2.0]) for option in range(3)]
    row = _row(prompt, logs, [option == written for option in range(3)])
    found = (row["correct"], row["correct_vocabulary"])
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]
    assert (row["answer"], row["predicted"]) == ("3", str(likeliest + 1))


def evaluation(task: str, correct: list) -> pd.DataFrame:
    size = len(correct)
    return pd.DataFrame(
        {
            "id": [f"{task}-{i}" for i in range(size)],
            "task": task,
            "country": (["Iran", "Peru"] * size)[:size],
            "template": 0,
            "answer": "3",
            "predicted": "2",
            "correct": correct,
            "correct_vocabulary": correct,
            "probability": 0.25,
        }
    )


def test_credits_in_a_file_and_in_the_table(tmp_path):
    before = evaluation("worldvaluesbench", [1.0, 0.5, 1.0, 2 / 3])
    after = evaluation("worldvaluesbench", [0.5, 0.5, 0.0, 1 / 3])
    for number, frame in enumerate((before, after)):
        write_evaluation(frame, tmp_path / f"{number}.csv")
    read = [read_evaluation(tmp_path / f"{number}.csv") for number in range(2)]
    pd.testing.assert_frame_equal(read[0], before, check_dtype=False)
    row = compare(read[0], read[1], [read[0]]).loc["worldvaluesbench"]
    assert row["original"] == pytest.approx(100 * (1 + 0.5 + 1 + 2 / 3) / 4)
    assert row["masked"] == pytest.approx(100 * (0.5 + 0.5 + 0 + 1 / 3) / 4)
    same = compare(read[0], read[1], [read[1]] * 3).loc["worldvaluesbench"]
    assert (same["p_mean"], same["p_one"]) == (1.0, 1.0)  # ties, though thirds are rounded
    countries = by_country(read[0], read[1], [read[0]])
    assert countries.loc[("worldvaluesbench", "Iran"), "masked"] == pytest.approx(25.0)


def test_tables_join_tasks_with_and_without_credits():
    graded_frame, plain = (
        evaluation("worldvaluesbench", [1.0, 0.5]),
        evaluation("qnli", [True, False]),
    )
    both = pd.concat([graded_frame, plain], ignore_index=True)
    table = compare(both, both, [both])
    assert list(table["original"]) == [75.0, 50.0]
    assert list(by_country(both, both, [both])["random"]) == [100.0, 50.0, 100.0, 0.0]


# A task of one's own


def test_a_task_of_ones_own(monkeypatch):
    def load_items(split, countries, data):
        facts = {"Spain": ("paella", "ramen", "pho"), "Peru": ("ceviche", "borscht", "laksa")}
        return [Item(c, c, {"country": c}, dishes, answer=0) for c, dishes in facts.items()]

    template = Template(
        user="A dish of {country}?\n{options}\nReply with a letter.", cloze="A dish of {country}:"
    )
    monkeypatch.setitem(TASKS, "mine", Task(load_items, (template,), ("test",)))
    found = load_task("mine", "test")
    assert [(i.id, i.country, i.answer_text) for i in found] == [
        ("Spain", "Spain", "paella"),
        ("Peru", "Peru", "ceviche"),
    ]
    a, b, c = found[0].options
    assert found[0].user == f"A dish of Spain?\nA. {a}\nB. {b}\nC. {c}\nReply with a letter."
    assert (found[0].cloze, found[0].labels) == ("A dish of Spain:", ("A", "B", "C"))
    assert load_task("mine", "test", countries=["spain"]) == found[:1]


def test_the_task_in_the_readme(monkeypatch):
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    code = readme.split("One of your own:\n\n```python\n")[1].split("```")[0]
    monkeypatch.setitem(TASKS, "dishes", TASKS["qnli"])  # taken away again after the test
    space: dict = {}
    exec(code, space)
    assert [i.answer_text for i in space["instances"]] == ["paella", "ghormeh sabzi"]
    assert len([line for line in code.splitlines() if line]) <= 10


def test_an_items_labels_and_credits_go_with_its_options():
    item = Item("a", None, {}, ("x", "y", "z"), 0, labels=("7", "8", "9"), credits=(1.0, 0.5, 0.0))
    (found,) = render([item], [Template("{options}", "Pick:")], "mine", "test")
    assert found.labels == ("7", "8", "9")
    assert dict(zip(found.options, found.credits or (), strict=True)) == {
        "x": 1.0,
        "y": 0.5,
        "z": 0.0,
    }
    assert found.user == "\n".join(f"{x}. {o}" for x, o in zip("789", found.options, strict=True))
    with pytest.raises(CulnigError, match="item a: 2 labels for 3 options; give one an option"):
        Item("a", None, {}, ("x", "y", "z"), 0, labels=("1", "2"))
    with pytest.raises(CulnigError, match="item a: 1 credits for 3 options"):
        Item("a", None, {}, ("x", "y", "z"), 0, credits=(1.0,))
