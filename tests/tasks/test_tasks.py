import json
import re
import string
from collections import Counter
from itertools import pairwise
from pathlib import Path

import datasets
import pandas as pd
import pytest
from benchmark_rows import QUESTIONS, blend_row, everyday_row
from blend_files import blend_folder, write_csv

import culnig_tl.tasks
from culnig_tl.errors import CulnigError
from culnig_tl.tasks import load_task
from culnig_tl.tasks.countries import COUNTRIES, FOCUS_COUNTRIES, country_in_text
from culnig_tl.tasks.instances import Instance
from culnig_tl.tasks.templates import Item, balanced_limit

BUNDLED = Path(culnig_tl.tasks.__file__).parent / "data"
NEURON_TOPICS = {"Food", "Work life", "Sport"}
TEST_TOPICS = {"Education", "Family", "Holidays/Celebration/Leisure"}
# Words that two options may share.
SMALL = set("a al an and at de el in la of on or the to with".split())


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower())) - SMALL


def by_id(instances: list[Instance]) -> dict[str, Instance]:
    assert len({i.id for i in instances}) == len(instances)
    return {instance.id: instance for instance in instances}


def write(path: Path, content) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# Bundled data


@pytest.fixture(scope="module")
def everyday_rows() -> pd.DataFrame:
    return pd.read_csv(BUNDLED / "everyday.csv", dtype=str, keep_default_na=False)


def test_everyday_has_enough_questions(everyday_rows):
    assert len(everyday_rows) >= 60
    assert everyday_rows["id"].is_unique
    counts = everyday_rows["category"].value_counts()
    assert set(counts.index) == NEURON_TOPICS | TEST_TOPICS
    assert counts.min() >= 10
    assert set(everyday_rows.columns) == {"id", "category", "question", *COUNTRIES}


@pytest.mark.parametrize("split", ["neuron", "control", "test"])
def test_everyday_instances(everyday_rows, split):
    instances = load_task("everyday", split)
    assert {i.group for i in instances} == set(COUNTRIES)
    cells = {
        (row["id"], c): row[c].split("|") for _, row in everyday_rows.iterrows() for c in COUNTRIES
    }
    wanted = TEST_TOPICS if split == "test" else NEURON_TOPICS
    categories = dict(zip(everyday_rows["id"], everyday_rows["category"], strict=True))
    expected = {
        f"{q}/{c}" for (q, c), cell in cells.items() if categories[q] in wanted and cell != [""]
    }
    assert set(by_id(instances)) == expected
    for instance in instances:
        question, country = instance.id.split("/")
        assert (instance.task, instance.split, instance.group) == ("everyday", split, country)
        assert len(instance.options) == 4
        right = [part.strip() for part in cells[question, country]]
        assert instance.answer_text == right[0]
        wrong = [option for i, option in enumerate(instance.options) if i != instance.answer]
        taken = set().union(*map(words, right))
        for option in wrong:
            assert not words(option) & taken, (instance.id, option)
        assert sum(len(words(o)) for o in wrong) == len(set().union(*map(words, wrong)))


def test_everyday_splits_have_no_category_in_common(everyday_rows):
    categories = dict(zip(everyday_rows["id"], everyday_rows["category"], strict=True))
    found = {
        split: {categories[i.id.split("/")[0]] for i in load_task("everyday", split)}
        for split in ("neuron", "control", "test")
    }
    assert found == {"neuron": NEURON_TOPICS, "control": NEURON_TOPICS, "test": TEST_TOPICS}


def test_everyday_answers_stand_at_every_letter():
    share = Counter(i.answer for i in load_task("everyday", "neuron"))
    total = sum(share.values())
    assert all(0.2 < share[letter] / total < 0.3 for letter in range(4))


def test_everyday_wording(everyday_rows):
    instances = by_id(load_task("everyday", "neuron"))
    row = everyday_rows.iloc[0]
    found = instances[f"{row['id']}/UK"]
    question = row["question"].replace("{country}", "the UK")
    assert found.cloze == f"Question: {question}\nAnswer:"
    options = "\n".join(f"{x}. {o}" for x, o in zip("ABCD", found.options, strict=True))
    assert found.user.endswith(f"\nQuestion: {question}\n{options}")
    assert found.labels == ("A", "B", "C", "D")
    assert (found.system, found.prefill, found.template) == ("", "", 0)


def test_control_is_the_same_without_the_question():
    neuron, control = load_task("everyday", "neuron"), load_task("everyday", "control")
    assert [i.id for i in neuron] == [i.id for i in control]
    assert [i.options for i in neuron] == [i.options for i in control]
    assert [i.answer for i in neuron] == [i.answer for i in control]
    for asked, unasked in zip(neuron, control, strict=True):
        question = asked.cloze.removeprefix("Question: ").removesuffix("\nAnswer:")
        assert unasked.cloze == "Answer:"
        assert question in asked.user
        assert question not in unasked.user
        assert "Question" not in unasked.user
        assert unasked.user == asked.user.replace(f"Question: {question}\n", "")
        assert all(f"{x}. {o}" in unasked.user for x, o in zip("ABCD", asked.options, strict=True))


def test_passages():
    passages = json.loads((BUNDLED / "passages.json").read_text())
    assert len(passages) == 50
    assert len({p["id"] for p in passages}) == 50
    dummies = ["{country_dummy}" in p["context"] for p in passages]
    assert (sum(dummies), len(dummies) - sum(dummies)) == (20, 30)
    assert all("{country}" in p["context"] for p in passages)
    assert not any("{" in p["question"] for p in passages)


@pytest.mark.parametrize(("split", "half"), [("neuron", slice(0, 25)), ("test", slice(25, 50))])
def test_countryrc_instances(split, half):
    passages = json.loads((BUNDLED / "passages.json").read_text())[half]
    instances = by_id(load_task("countryrc", split, templates=1))
    assert set(instances) == {f"{p['id']}/{c}" for p in passages for c in FOCUS_COUNTRIES}
    names = {country_in_text(country) for country in COUNTRIES}
    for passage in passages:
        for country in FOCUS_COUNTRIES:
            found = instances[f"{passage['id']}/{country}"]
            assert found.group == country
            assert found.answer_text == country_in_text(country)
            assert set(found.options) < names
            assert len(found.options) == 4
            text = found.cloze.split("\nQuestion: ")[0]
            context = passage["context"].replace("{country}", found.answer_text)
            wrong = set(found.options) - {found.answer_text}
            # The passage with just one of the wrong options as its dummy, where it has one.
            matches = [w for w in wrong if context.replace("{country_dummy}", w) == text]
            assert len(matches) == (1 if "{country_dummy}" in context else 3), found.id
            assert found.cloze.endswith(f"\nQuestion: {passage['question']}\nAnswer:")
            assert f"Passage: {text}\nQuestion: {passage['question']}\nA. " in found.user


def test_countryrc_of_any_countries():
    found = load_task("countryrc", "neuron", groups=["Ethiopia", "us"])
    assert Counter(i.group for i in found) == {"Ethiopia": 25, "USA": 25}


@pytest.mark.parametrize("name", ["commonsense", "paraphrase"])
def test_bundled_controls(name):
    instances = load_task(name, "test")
    rows = pd.read_csv(BUNDLED / f"{name}.csv", dtype=str)
    assert len(instances) == len(rows) >= 60
    assert set(by_id(instances)) == set(rows["id"])
    assert {i.group for i in instances} == {None}
    assert {len(i.options) for i in instances} == {4}
    answers = dict(
        zip(rows["id"], rows["answer" if name == "commonsense" else "paraphrase"], strict=True)
    )
    assert all(i.answer_text == answers[i.id] for i in instances)
    assert all(words(i.answer_text) for i in instances)
    assert len(Counter(i.answer for i in instances)) == 4


def test_commonsense_wording():
    rows = pd.read_csv(BUNDLED / "commonsense.csv", dtype=str).set_index("id")
    for instance in load_task("commonsense", "test"):
        row = rows.loc[instance.id]
        assert instance.cloze == f"Question: {row['question']}\nAnswer:"
        assert set(instance.options) == set(row[["answer", "wrong_1", "wrong_2", "wrong_3"]])


def test_paraphrase_wrong_options_are_other_sentences_paraphrases():
    rows = pd.read_csv(BUNDLED / "paraphrase.csv", dtype=str)
    assert rows["paraphrase"].is_unique
    for instance in load_task("paraphrase", "test"):
        assert set(instance.options) < set(rows["paraphrase"])
        assert instance.cloze.endswith("\nThe same in other words:")


# Countries and limit


def test_countries_in_any_spelling():
    found = load_task("everyday", "neuron", groups=["South_Korea", "us", "USA"])
    assert {i.group for i in found} == {"South Korea", "USA"}
    everything = load_task("everyday", "neuron")
    assert by_id(found) == by_id([i for i in everything if i.group in ("South Korea", "USA")])


def test_limit_is_even_over_countries():
    for limit, counts in ((16, {1}), (48, {3}), (20, {1, 2}), (5, {1})):
        found = load_task("everyday", "neuron", limit=limit)
        assert len(found) == limit
        assert set(Counter(i.group for i in found).values()) == counts


def test_a_smaller_limit_is_a_subset():
    limits = [load_task("everyday", "neuron", limit=limit) for limit in (3, 17, 50, 200)]
    for smaller, larger in zip(limits, limits[1:], strict=False):
        assert by_id(smaller).items() <= by_id(larger).items()
    everything = [i.id for i in load_task("everyday", "neuron")]
    kept = {i.id for i in limits[2]}
    assert [i.id for i in limits[2]] == [name for name in everything if name in kept]


def test_limit_takes_the_same_for_neuron_and_control():
    neuron, control = (load_task("everyday", s, limit=40) for s in ("neuron", "control"))
    assert [i.id for i in neuron] == [i.id for i in control]
    assert [i.options for i in neuron] == [i.options for i in control]


def test_limit_without_countries_and_above_the_number():
    assert len(load_task("commonsense", "test", limit=7)) == 7
    assert load_task("commonsense", "test", limit=10**6) == load_task("commonsense", "test")


def item(country: str, question: str, number: int) -> Item:
    return Item(f"{question}/{country}/{number}", country, {}, ("a", "b"), 0, question_id=question)


# Iran has four questions of three instances each, Spain one of five.
ITEMS = [item("Iran", f"q{q}", n) for q in range(4) for n in range(3)]
ITEMS += [item("Spain", "q0", n) for n in range(5)]


def limited(limit: int) -> Counter:
    kept = balanced_limit(ITEMS, limit, [i.question_id for i in ITEMS])
    assert len(kept) == limit
    return Counter((i.group, i.question_id) for i in kept)


@pytest.mark.parametrize("limit", range(1, 6))
def test_a_limit_draws_different_questions_first(limit):
    assert set(limited(limit).values()) == {1}


@pytest.mark.parametrize("limit", range(6, 11))
def test_further_instances_come_when_there_are_no_more_questions(limit):
    found = limited(limit)
    assert len(found) == 5
    assert max(found.values()) == 2


def test_a_smaller_limit_of_questions_is_a_subset():
    questions = [i.question_id for i in ITEMS]
    limits = [{i.id for i in balanced_limit(ITEMS, n, questions)} for n in range(1, 17)]
    assert all(smaller < larger for smaller, larger in pairwise(limits))


@pytest.mark.parametrize("limit", [0, -3])
def test_limit_below_one(limit):
    with pytest.raises(CulnigError, match=f"limit {limit} leaves no instance: give 1 or more"):
        load_task("everyday", "neuron", limit=limit)


def test_limit_is_a_sample_and_not_the_first_rows():
    first = [i.id for i in load_task("commonsense", "test")][:10]
    assert [i.id for i in load_task("commonsense", "test", limit=10)] != first


def test_options_do_not_depend_on_the_order_of_the_file(tmp_path, everyday_rows):
    turned = everyday_rows.iloc[::-1, list(range(3)) + list(range(18, 2, -1))]
    assert list(turned.columns[3:5]) == ["West Java", "USA"]
    path = tmp_path / "turned.csv"
    turned.to_csv(path, index=False)
    for split in ("neuron", "control"):
        asis, other = load_task("everyday", split), load_task("everyday", split, data=path)
        assert [i.id for i in asis] != [i.id for i in other]
        assert by_id(asis) == by_id(other)
    limited = [load_task("everyday", "neuron", limit=30, data=d) for d in (None, path)]
    assert by_id(limited[0]) == by_id(limited[1])


def test_commonsense_options_do_not_depend_on_the_order_of_the_file(tmp_path):
    rows = pd.read_csv(BUNDLED / "commonsense.csv", dtype=str)
    rows.iloc[::-1].to_csv(tmp_path / "turned.csv", index=False)
    found = load_task("commonsense", "test", data=tmp_path / "turned.csv")
    assert by_id(found) == by_id(load_task("commonsense", "test"))


def test_options_do_not_depend_on_which_countries_are_asked_for():
    alone = by_id(load_task("everyday", "test", groups=["Greece"]))
    assert alone.items() <= by_id(load_task("everyday", "test")).items()


# Templates

PLAIN = {"user": "Q: {question}\nA. {option_a}\nB. {option_b}\nC. {option_c}\nD. {option_d}"}
DIGITS = {
    "user": "Q: {question}\n1. {option_a}\n2. {option_b}\n3. {option_c}\n4. {option_d}",
    "system": "Reply about {question}",
    "cloze": "{question} ->",
    "prefill": '{"answer": ',
}


def of(path: Path, split: str = "neuron", **kwargs) -> list[Instance]:
    return load_task("everyday", split, groups=["Spain"], limit=4, templates=path, **kwargs)


def test_templates_as_a_list_and_as_a_mapping(tmp_path):
    as_list = of(write(tmp_path / "list.json", [PLAIN, DIGITS]))
    as_mapping = of(
        write(tmp_path / "map.json", {"source": "x", "everyday": [PLAIN, DIGITS], "blend": []})
    )
    assert as_list == as_mapping
    assert len(as_list) == 8
    assert [i.template for i in as_list] == [0] * 4 + [1] * 4
    assert [i.id for i in as_list[4:]] == [f"{i.id}#1" for i in as_list[:4]]
    assert [set(i.options) for i in as_list[4:]] == [set(i.options) for i in as_list[:4]]
    assert [i.answer_text for i in as_list[4:]] == [i.answer_text for i in as_list[:4]]


def test_templates_are_filled(tmp_path):
    plain, digits = of(write(tmp_path / "t.json", [PLAIN, DIGITS]))[0::4]
    question = digits.cloze.removesuffix(" ->")
    a, b, c, d = plain.options
    assert plain.user == f"Q: {question}\nA. {a}\nB. {b}\nC. {c}\nD. {d}"
    assert plain.cloze == f"Question: {question}\nAnswer:"  # the task's own
    assert (plain.labels, plain.system, plain.prefill) == (("A", "B", "C", "D"), "", "")
    a, b, c, d = digits.options
    assert digits.user == f"Q: {question}\n1. {a}\n2. {b}\n3. {c}\n4. {d}"
    assert digits.labels == ("1", "2", "3", "4")
    assert (digits.system, digits.prefill) == (f"Reply about {question}", '{"answer": ')


@pytest.mark.parametrize(
    ("mark", "labels"),
    [("1.", "1234"), ("1)", "1234"), ("1:", "1234"), ("(a)", "ABCD"), ("21.", "ABCD")],
)
def test_labels_are_read_from_the_template(tmp_path, mark, labels):
    user = f"{{question}}\n{mark} {{option_a}}\n{{option_b}} {{option_c}} {{option_d}}"
    assert of(write(tmp_path / "t.json", [{"user": user}]))[0].labels == tuple(labels)


def test_control_of_a_template(tmp_path):
    path = write(tmp_path / "t.json", [PLAIN, DIGITS | {"control": "Pick: {option_a}"}])
    plain, digits = of(path, "control")[0::4]
    a, b, c, d = plain.options
    assert plain.user == f"A. {a}\nB. {b}\nC. {c}\nD. {d}"
    assert digits.user == f"Pick: {digits.options[0]}"
    assert (plain.cloze, digits.cloze) == ("Answer:", "Answer:")
    assert digits.labels == ("1", "2", "3", "4")
    assert [i.options for i in of(path, "control")] == [i.options for i in of(path)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [PLAIN, {"user": "{story}\n{option_a}"}],
            r"template 1 of task 'everyday' asks for \{story\}, which is not a field; it has .*que",
        ),
        ([PLAIN | {"cloze": "{passage}"}], r"template 0 .* asks for \{passage\}"),
        ([PLAIN | {"usr": "x"}], r"template 0 of 'everyday' has unknown keys \['usr'\]; known are"),
        ({"blend": [PLAIN], "a": []}, "no templates for task 'everyday': it has a, blend"),
        ([PLAIN, {"cloze": "{question}"}], "template 1 of 'everyday' has no text under 'user'"),
        ([PLAIN, "text"], "template 1 of 'everyday' has no text under 'user'"),
        ([PLAIN | {"cloze": 3}], "template 0 of 'everyday' has no text under 'cloze'; give text"),
        ([PLAIN | {"prefill": None}], "template 0 of 'everyday' has no text under 'prefill'"),
        ([PLAIN | {"system": "{"}], r"template 0 of task 'everyday': Single '\{' .* plain braces"),
        ([PLAIN | {"system": "{question!z}"}], r"\{question\} must be a plain field name; write"),
        ([PLAIN | {"system": "{question.x}"}], r"\{question.x\} must be a plain field name"),
        ([PLAIN | {"system": "{}"}], r"\{\} must be a plain field name"),
        ([], "templates for 'everyday' must be a list .* with one or more"),
        ({"everyday": PLAIN}, "templates for 'everyday' must be a list"),
        ("text", "templates for 'everyday' must be a list"),
    ],
)
def test_template_errors(tmp_path, content, message):
    with pytest.raises(CulnigError, match=message):
        of(write(tmp_path / "t.json", content))


def test_control_impossible(tmp_path):
    path = write(tmp_path / "t.json", [PLAIN, {"user": "{question} A. {option_a} B. {option_b}"}])
    assert len(of(path)) == 8
    message = "template 1 of task 'everyday' has its question and options on one line, so no contr"
    with pytest.raises(CulnigError, match=message):
        of(path, "control")


def test_no_template_file(tmp_path):
    with pytest.raises(CulnigError, match=r"no file .*gone\.json"):
        of(tmp_path / "gone.json")


# Errors in data


def from_rows(tmp_path: Path, *rows: dict, countries=("Spain", "UK")) -> list[Instance]:
    path = write_csv(tmp_path / "mine.csv", list(rows))
    return load_task("everyday", "neuron", groups=list(countries), data=path)


def test_own_everyday_file(tmp_path):
    second = everyday_row(2, Spain="", UK="tea|corn", Mexico="cake")
    found = from_rows(tmp_path, everyday_row(1, Mexico="cake"), second)
    assert [i.id for i in found] == ["q1/Spain", "q1/UK", "q2/UK"]
    assert found[0].answer_text == "bread"
    assert found[1].cloze == "Question: What is eaten in the UK on day 1?\nAnswer:"
    # Corn is right in the UK too, and Spain has no answer.
    assert set(found[2].options) == {"tea", "rice", "saffron", "cake"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": ""}, r"mine\.csv, row 2: column 'question' is empty; fill it or drop it"),
        ({"id": " "}, r"mine\.csv, row 2: column 'id' is empty"),
        ({"category": "Fod"}, r"mine\.csv, row 2: unknown category 'Fod'; choose from Food, Work"),
        ({"question": "What?"}, r"mine\.csv, row 2: the question must hold \{country\} once"),
        ({"question": "{country} {country}"}, r"row 2: the question must hold \{country\} once"),
        (
            {"China": "bread roll", "USA": "corn bread"},
            r"mine\.csv, row 2: fewer than three wrong options for Spain share no word with 'bread",
        ),
    ],
)
def test_malformed_everyday_row(tmp_path, changes, message):
    with pytest.raises(CulnigError, match=message):
        from_rows(tmp_path, everyday_row(1), everyday_row(2, **changes), everyday_row(3))


def test_repeated_question_and_country(tmp_path):
    with pytest.raises(CulnigError, match=r"mine\.csv, row 2: id 'q1' is that of row 1 too; keep"):
        from_rows(tmp_path, everyday_row(1), everyday_row(1))
    with pytest.raises(CulnigError, match=r"mine\.csv has more than one column for USA: keep one"):
        from_rows(tmp_path, everyday_row(1, US="maize"))


def test_numbers_in_json_are_text(tmp_path):
    row = everyday_row(1, id=7, Spain=1492, UK=2.5, Iran=None)
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(everyday_row(2, Mexico="cake")))
    found = load_task("everyday", "neuron", groups=["Spain", "USA"], data=path)
    assert [(i.id, i.answer_text) for i in found[:2]] == [("7/Spain", "1492"), ("7/USA", "corn")]
    path.write_text(json.dumps(everyday_row(1, question=["What?"])))
    with pytest.raises(CulnigError, match=r"mine\.jsonl, row 1: column 'question' is not text"):
        load_task("everyday", "neuron", groups=["Spain"], data=path)


def test_missing_column(tmp_path):
    row = everyday_row(1)
    del row["category"]
    with pytest.raises(CulnigError, match=r"mine\.csv has no column 'category': its columns are"):
        from_rows(tmp_path, row)


def test_country_without_a_column(tmp_path):
    with pytest.raises(CulnigError, match=r"mine\.csv has no column for Greece: it has China, Sp"):
        from_rows(tmp_path, everyday_row(1), countries=["Spain", "Greece"])
    with pytest.raises(CulnigError, match="has no column for Algeria"):
        load_task("everyday", "neuron", data=tmp_path / "mine.csv")


def test_column_that_is_no_country(tmp_path):
    with pytest.raises(CulnigError, match="unknown country 'Atlantis'"):
        from_rows(tmp_path, everyday_row(1, Atlantis="kelp"))


def test_no_answer_for_the_countries(tmp_path):
    with pytest.raises(CulnigError, match=r"task 'everyday', split 'neuron': no instance for \['S"):
        from_rows(tmp_path, everyday_row(1, Spain=""), countries=["Spain"])


@pytest.mark.parametrize("suffix", [".xlsx", "", ".txt"])
def test_unknown_suffix(tmp_path, suffix):
    (tmp_path / f"mine{suffix}").write_text("id")
    with pytest.raises(CulnigError, match=r"cannot read .*mine.*: its name must end in \.csv, "):
        load_task("everyday", "neuron", data=tmp_path / f"mine{suffix}")


@pytest.mark.parametrize("name", ["everyday", "commonsense", "paraphrase"])
def test_missing_file(tmp_path, name):
    with pytest.raises(CulnigError, match=r"no file .*gone\.csv: check the path given as data"):
        load_task(name, "test", data=tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", ""), ("a.csv", 'id,b\n1,"2'), ("a.jsonl", "{oops"), ("a.parquet", "no parquet")],
)
def test_file_that_cannot_be_parsed(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    kind = name.split(".")[1]
    with pytest.raises(CulnigError, match=f"cannot parse .*is it a {kind} file") as caught:
        load_task("commonsense", "test", data=tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_kind_of_file_gives_the_same(tmp_path, suffix):
    rows = pd.read_csv(BUNDLED / "commonsense.csv", dtype=str)
    path = tmp_path / f"mine{suffix}"
    if suffix == ".parquet":
        rows.to_parquet(path)
    elif suffix.startswith(".json"):
        rows.to_json(path, orient="records", lines=suffix == ".jsonl")
    else:
        rows.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    assert load_task("commonsense", "test", data=path) == load_task("commonsense", "test")


def test_cells_that_look_like_missing_values_are_text(tmp_path):
    row = {"id": "n", "question": "Which?", "answer": "None", "wrong_1": "NA", "wrong_2": "nan"}
    path = write_csv(tmp_path / "a.csv", [row | {"wrong_3": "null"}])
    (found,) = load_task("commonsense", "test", data=path)
    assert set(found.options) == {"None", "NA", "nan", "null"}


def test_empty_cell_in_commonsense(tmp_path):
    row = dict(
        zip(("id", "question", "answer", "wrong_1", "wrong_2", "wrong_3"), "abcdef", strict=True)
    )
    path = write_csv(tmp_path / "a.csv", [row, row, row | {"wrong_2": ""}])
    with pytest.raises(CulnigError, match=r"a\.csv, row 3: column 'wrong_2' is empty"):
        load_task("commonsense", "test", data=path)


def test_too_few_paraphrases(tmp_path):
    rows = [{"id": x, "sentence": x, "paraphrase": x * 2} for x in "abc"]
    with pytest.raises(CulnigError, match="has 3 pairs: give four or more"):
        load_task("paraphrase", "test", data=write_csv(tmp_path / "a.csv", rows))


def test_unknown_task():
    with pytest.raises(CulnigError, match="unknown task 'every': choose from everyday, blend, cou"):
        load_task("every", "test")


@pytest.mark.parametrize(
    ("name", "split", "has"),
    [
        ("everyday", "train", "neuron, control, test"),
        ("countryrc", "control", "neuron, test"),
        ("commonsense", "neuron", "test"),
    ],
)
def test_unknown_split(name, split, has):
    with pytest.raises(CulnigError, match=f"task '{name}' has no split '{split}': it has {has}$"):
        load_task(name, split)


def test_unknown_country():
    with pytest.raises(CulnigError, match="unknown country 'Atlantis': choose from Algeria"):
        load_task("everyday", "test", groups=["Spain", "Atlantis"])


PASSAGE = {"id": "p", "context": "A shop in {country}.", "question": "Where?"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (PASSAGE | {"context": "A shop."}, r"row 2: the context does not hold \{country\}"),
        (PASSAGE | {"question": " "}, "row 2: 'question' is missing or empty"),
        ({"id": "p", "question": "Where?"}, "row 2: 'context' is missing or empty"),
        (PASSAGE | {"context": 3}, "row 2: 'context' is missing or empty"),
        ("text", "row 2: not an object with id, context, question"),
    ],
)
def test_malformed_passage(tmp_path, entry, message):
    path = write(tmp_path / "p.json", [PASSAGE, entry, PASSAGE, PASSAGE])
    with pytest.raises(CulnigError, match=rf"p\.json, {message}"):
        load_task("countryrc", "neuron", data=path)


@pytest.mark.parametrize("content", [{}, [], [PASSAGE], "text"])
def test_passages_that_are_no_list(tmp_path, content):
    with pytest.raises(CulnigError, match="must be a JSON list of two or more passages"):
        load_task("countryrc", "neuron", data=write(tmp_path / "p.json", content))


# BLEnD, in the Hub's schema


BLEND_ROWS = [
    *(blend_row(i, "Al-2", "South_Korea") for i in (8, 3)),
    *(blend_row(i) for i in range(7)),
    blend_row(0, "Al-3"),
]


@pytest.fixture(scope="module")
def blend(tmp_path_factory):
    return blend_folder(tmp_path_factory.mktemp("blend"), BLEND_ROWS)


def test_five_rows_a_question_and_country_are_taken_from_blend(blend):
    assert [i.id for i in load_task("blend", "neuron", data=blend)] == [
        "Al-2_8/South Korea",
        "Al-2_3/South Korea",
        *(f"Al-1_{i}/USA" for i in range(5)),
    ]


def test_an_instance_of_blend(blend):
    first = load_task("blend", "neuron", data=blend)[0]
    assert first.options == ("rice 8", "soup", "fish", "nuts")
    assert (first.answer, first.answer_text, first.group) == (2, "fish", "South Korea")
    assert first.user == BLEND_ROWS[0]["prompt"]
    assert first.cloze == "Question: What of Al-2?\nAnswer:"
    assert first.prefill == '{"answer_choice":"'


def test_the_control_of_blend_is_the_same_without_the_question(blend):
    found, control = (load_task("blend", split, data=blend) for split in ("neuron", "control"))
    assert [i.id for i in control] == [i.id for i in found]
    assert control[0].user == BLEND_ROWS[0]["prompt"].removeprefix("What of Al-2? ")
    assert control[0].cloze == "Answer:"


def test_the_other_questions_of_blend_are_the_test(blend):
    assert [i.id for i in load_task("blend", "test", data=blend)] == ["Al-3_0/USA"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": "A: rice"}, "row 2: 'choices' is not JSON"),
        ({"choices": "[1, 2]"}, "row 2: 'choices' is not JSON"),
        ({"answer_idx": "E"}, r"row 2: answer 'E' is not among its options \['A', 'B', 'C', 'D'\]"),
        ({"ID": "Al-9"}, r"row 2: question 'Al-9' has no topic in US_questions\.csv"),
        ({"prompt": "What? Pick."}, "row 2: 'prompt' has no 'Without any explanation' after its"),
        ({"country": ""}, "row 2: column 'country' is empty"),
    ],
)
def test_malformed_blend_row(tmp_path, changes, message):
    rows = [blend_row(0), blend_row(1, **changes), blend_row(2)]
    with pytest.raises(CulnigError, match=rf"multiple_choice\.csv, {message}"):
        load_task("blend", "neuron", data=blend_folder(tmp_path, rows))


def test_blend_rows_are_counted_in_the_whole_file(tmp_path):
    rows = [blend_row(0, "Al-3"), blend_row(0), blend_row(1, answer_idx="Z")]
    with pytest.raises(CulnigError, match=r"multiple_choice\.csv, row 3: answer 'Z'"):
        load_task("blend", "neuron", data=blend_folder(tmp_path, rows))


def test_blend_unknown_country_and_topic(tmp_path):
    folder = blend_folder(tmp_path, [blend_row(0, country="Atlantis")])
    with pytest.raises(CulnigError, match="unknown country 'Atlantis'"):
        load_task("blend", "neuron", data=folder)
    write_csv(folder / "questions" / "US_questions.csv", [{"ID": "Al-1", "Topic": "Foods"}])
    with pytest.raises(CulnigError, match=r"unknown topic 'Foods' in US_questions\.csv"):
        load_task("blend", "neuron", data=folder)


def test_blend_files_that_are_not_there(tmp_path):
    with pytest.raises(CulnigError, match=r"no multiple_choice\.parquet in .*: give BLEnD's fold"):
        load_task("blend", "neuron", data=tmp_path)
    write_csv(tmp_path / "multiple_choice.csv", [blend_row(0)])
    with pytest.raises(CulnigError, match=r"no file .*US_questions\.csv"):
        load_task("blend", "neuron", data=tmp_path)


def test_blend_missing_column(tmp_path):
    row = blend_row(0)
    del row["choices"]
    with pytest.raises(CulnigError, match=r"multiple_choice\.csv has no column 'choices'"):
        load_task("blend", "neuron", data=blend_folder(tmp_path, [row]))


def test_hub_that_cannot_be_reached(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("Couldn't reach\n  the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(CulnigError) as caught:
        load_task("blend", "neuron")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("cannot load dataset nayeon212/BLEnD from the Hub (ConnectionError: ")
    assert "Couldn't reach the Hub" in message
    assert "data= (--data)" in message


def on_hub(monkeypatch, rows: list[dict]) -> list[tuple]:
    asked = []

    def load_dataset(name, config=None, *, split):
        asked.append((name, config, split))
        multiple = config == "multiple-choice-questions"
        return datasets.Dataset.from_list(rows if multiple else QUESTIONS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_blend_from_the_hub_is_as_from_a_folder(monkeypatch, tmp_path):
    rows = [blend_row(i, "Al-2", "South_Korea") for i in range(6)] + [blend_row(0, "Al-3")]
    asked = on_hub(monkeypatch, rows)
    found = load_task("blend", "neuron")
    assert set(asked) == {
        ("nayeon212/BLEnD", "multiple-choice-questions", "test"),
        ("nayeon212/BLEnD", "short-answer-questions", "US"),
    }
    assert [i.id for i in found] == [f"Al-2_{i}/South Korea" for i in range(5)]
    assert found == load_task("blend", "neuron", data=blend_folder(tmp_path, rows))


def test_hub_errors_name_the_row_and_the_column(monkeypatch):
    on_hub(monkeypatch, [blend_row(0), blend_row(1, answer_idx="Z")])
    with pytest.raises(CulnigError, match="nayeon212/BLEnD, row 2: answer 'Z' is not among"):
        load_task("blend", "neuron")
    on_hub(monkeypatch, [{"MCQID": "a", "ID": "Al-1"}])
    with pytest.raises(CulnigError, match="dataset nayeon212/BLEnD has no column 'country'"):
        load_task("blend", "neuron")


# Real data, where the checkout stands beside it


def test_real_blend(shared):
    folder = shared / "data" / "blend"
    found = load_task("blend", "neuron", groups=["US", "South_Korea"], data=folder)
    topics = pd.read_csv(folder / "questions" / "US_questions.csv").set_index("ID")["Topic"]
    table = pd.read_parquet(folder / "multiple_choice.parquet")
    table = table[table["country"].isin(["US", "South_Korea"])]
    table = table[table["ID"].map(topics).isin(NEURON_TOPICS)]
    expected, seen = [], Counter()
    for row in table.to_dict("records"):
        seen[row["ID"], row["country"]] += 1
        if seen[row["ID"], row["country"]] <= 5:
            expected.append(row)
    names = {"US": "USA", "South_Korea": "South Korea"}
    assert [i.id for i in found] == [f"{r['MCQID']}/{names[r['country']]}" for r in expected]
    assert len(found) == 1221
    for instance, row in zip(found, expected, strict=True):
        assert instance.user == row["prompt"]
        assert instance.options == tuple(json.loads(row["choices"]).values())
        assert string.ascii_uppercase[instance.answer] == row["answer_idx"]
        assert row["prompt"].startswith(instance.cloze.split("\n")[0].removeprefix("Question: "))


def test_real_blend_splits(shared):
    folder = shared / "data" / "blend"
    kinds = {
        s: load_task("blend", s, groups=["Spain"], data=folder)
        for s in ("neuron", "control", "test")
    }
    assert [i.id for i in kinds["neuron"]] == [i.id for i in kinds["control"]]
    assert not {i.id for i in kinds["neuron"]} & {i.id for i in kinds["test"]}
    for instance in kinds["control"]:
        assert instance.user.startswith("Without any explanation, choose only one")
    limited = load_task("blend", "neuron", limit=32, data=folder)
    assert Counter(i.group for i in limited) == dict.fromkeys(COUNTRIES, 2)


def test_real_countryrc(shared):
    path = shared / "data" / "countryrc" / "data.json"
    passages = json.loads(path.read_text())
    for split, half in (("neuron", passages[:25]), ("test", passages[25:])):
        found = load_task("countryrc", split, data=path, templates=1)
        assert len(found) == 25 * 8
        assert {i.id for i in found} == {f"{p['id']}/{c}" for p in half for c in FOCUS_COUNTRIES}
        assert not any("{" in i.user for i in found)


def test_prompts_of_the_paper(shared):
    found = load_task("countryrc", "neuron", limit=8, templates=shared / "paper" / "prompts.json")
    assert len(found) == 4 * 8
    assert Counter(i.template for i in found) == {0: 8, 1: 8, 2: 8, 3: 8}
    labels = {i.template: "".join(i.labels) for i in found}
    assert labels == {0: "ABCD", 1: "ABCD", 2: "1234", 3: "1234"}
    prompts = json.loads((shared / "paper" / "prompts.json").read_text())["countryrc"]
    for instance in found:
        start = prompts[instance.template]["user"].split("{passage}")[0]
        assert instance.user.startswith(start)
        assert f"\n{instance.labels[3]}. {instance.options[3]}" in instance.user
