"""The paper's benchmarks as tasks, templates by number, and a task of one's own."""

import json
import string
from collections import Counter
from pathlib import Path

import datasets
import pandas as pd
import pytest
from benchmark_rows import (
    FOUR_TEMPLATES,
    ROWS,
    culturalbench_row,
    data_of,
    normad_row,
    table_file,
)

from culnig_tl.errors import CulnigError
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import study_data
from culnig_tl.study.same_study import changed_arguments
from culnig_tl.tasks import OWN, OWN_NAMES, TASKS, Item, Task, Template, load_task

# Templates


def test_how_many_templates_each_task_has():
    counts = {name: len(task.templates) for name, task in TASKS.items()}
    assert counts == {
        name: 4 if name in FOUR_TEMPLATES else 1
        for name in (
            "everyday",
            "blend",
            "commonsense",
            "paraphrase",
            OWN,
            OWN_NAMES,
            *FOUR_TEMPLATES,
        )
    }
    for name in FOUR_TEMPLATES[1:]:
        train = ("train",) if name in ("qnli", "mrpc") else ()
        assert TASKS[name].splits == ("test", *train)


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
        study_data(Study(limit=16, test_limit=16, rc_limit=8, other_limit=8, template_count=count))
        for count in (1, 2)
    )
    one, two = one.parts, two.parts
    assert {i.template for part in one.values() for i in part} == {0}
    assert one["countryrc test"] == [i for i in two["countryrc test"] if i.template == 0]
    assert len(two["countryrc test"]) == 16
    for name in set(one) - {"countryrc test"}:
        assert one[name] == two[name]


def test_a_run_from_before_the_template_count_goes_on():
    before = {"arguments": {"seeds": 2}, "datasets": {}, "model": {}}
    assert changed_arguments(before, Study(seeds=2, template_count=1)) == {}
    changed = changed_arguments(before, Study(seeds=2, template_count=4))
    assert changed == {"template_count": (1, 4)}


# One task after another


CULTURAL_ROWS = [
    culturalbench_row(7),
    culturalbench_row(8, answer="d", country="United States"),
    culturalbench_row(9, country="Germany"),
]


@pytest.fixture(scope="module")
def culturalbench(tmp_path_factory):
    return table_file(tmp_path_factory.mktemp("cultural") / "c.jsonl", CULTURAL_ROWS)


def test_culturalbench(culturalbench):
    found = load_task("culturalbench", "test", data=culturalbench, templates=1)
    assert [i.id for i in found] == ["7", "8", "9"]
    assert [i.group for i in found] == ["South Korea", "USA", "Germany"]
    assert [i.answer_text for i in found] == ["Bread", "Nothing", "Bread"]
    assert set(found[0].options) == {"Flowers", "Bread", "Old boats", "Nothing"}
    assert found[0].cloze == f"Question: {CULTURAL_ROWS[0]['prompt_question']}\nAnswer:"


def test_options_of_culturalbench_have_letters_or_numbers(culturalbench):
    found = load_task("culturalbench", "test", data=culturalbench)
    assert {"".join(i.labels) for i in found} == {"ABCD", "1234"}


def test_culturalbench_of_one_country(culturalbench):
    found = load_task("culturalbench", "test", data=culturalbench, templates=1)
    only = load_task("culturalbench", "test", groups=["us"], data=culturalbench, templates=1)
    assert only == found[1:2]


def test_culturalbench_of_a_country_that_no_study_knows(culturalbench):
    with pytest.raises(CulnigError, match="unknown country 'Germany': choose from Algeria, Assam"):
        load_task("culturalbench", "test", groups=["Germany"], data=culturalbench)


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
    assert [found[0].group, found[1].group] == ["USA", "Northern Nigeria"]
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
        assert instance.group is None
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
    if name in ("qnli", "mrpc"):  # what may be trained on
        trained = load_task(name, "train")
        assert [i.cloze for i in trained] == [i.cloze for i in expected[: len(rows)]]
        assert asked[1:] == [(*address[:2], "train")]
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
    assert [(i.id, i.group, i.answer_text) for i in found] == [
        ("Spain", "Spain", "paella"),
        ("Peru", "Peru", "ceviche"),
    ]
    a, b, c = found[0].options
    assert found[0].user == f"A dish of Spain?\nA. {a}\nB. {b}\nC. {c}\nReply with a letter."
    assert (found[0].cloze, found[0].labels) == ("A dish of Spain:", ("A", "B", "C"))
    assert load_task("mine", "test", groups=["spain"]) == found[:1]


def test_the_task_in_the_docs(monkeypatch):
    page = Path(__file__).resolve().parents[2] / "docs" / "tasks.md"
    code = (
        page.read_text(encoding="utf-8").split("One of your own:\n\n```python\n")[1].split("```")[0]
    )
    monkeypatch.setitem(TASKS, "dishes", TASKS["qnli"])  # taken away again after the test
    space: dict = {}
    exec(code, space)
    assert [i.answer_text for i in space["instances"]] == ["paella", "ghormeh sabzi"]
    assert len([line for line in code.splitlines() if line]) <= 10
