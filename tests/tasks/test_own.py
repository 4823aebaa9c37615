"""A file of one's own questions, as splits; and what can be wrong with it."""

import pandas as pd
import pytest
from question_files import GROUPS, jobs, rows, write

from culnig_tl.errors import CulnigError
from culnig_tl.tasks import load_task
from culnig_tl.tasks.everyday import content_words
from culnig_tl.tasks.own import load_questions
from culnig_tl.tasks.question_rows import faults_in
from culnig_tl.tasks.templates import Item, Template, render


def changed(place: int = 0, **cells) -> list[dict]:
    """The rows, with these cells of one of them changed."""
    given = rows()
    given[place] = given[place] | cells
    return given


def with_column(name: str, values) -> list[dict]:
    """The rows with another column: a value, or one for each row's number."""
    value = values if callable(values) else lambda number: values
    return [row | {name: value(number)} for number, row in enumerate(rows())]


def load(folder, given):
    return load_questions(write(folder / "jobs.csv", given))


def test_splits_share_no_question(tmp_path):
    found = load_questions(jobs(tmp_path))
    asked = [
        {one.question_key.rpartition("/")[0] for one in part} for part in (found.neuron, found.test)
    ]
    assert not asked[0] & asked[1]
    assert (len(found.neuron), len(found.test), found.split_by) == (9, 9, "hash")
    assert found.counts().to_dict("index") == {g: {"neuron": 3, "test": 3} for g in GROUPS}
    assert found.groups == tuple(GROUPS)


def test_the_question_names_the_group_and_the_topic_does_not(tmp_path):
    found = load_questions(jobs(tmp_path))
    one = next(i for i in (*found.neuron, *found.test) if i.id == "1")
    assert one.question == "What does a nurse hold at work?"
    assert one.cloze == "Question: What does a nurse hold at work?\nAnswer:"
    assert one.topic == next(i for i in (*found.neuron, *found.test) if i.id == "2").topic
    assert (one.group, one.answer_text) == ("nurse", "syringe")


def test_a_placeholder_is_filled(tmp_path):
    given = [
        row | {"question": row["question"].replace(row["group_in_text"], "{group}")}
        for row in rows()
    ]
    plain = load_questions(jobs(tmp_path / "plain"))
    assert load(tmp_path, given).neuron == plain.neuron


def test_drawn_options_are_other_groups_answers_without_a_common_word(tmp_path):
    found = load_questions(jobs(tmp_path))
    assert found.drawn == 18
    answers = {(row["group"], row["answer"]) for row in rows()}
    for one in (*found.neuron, *found.test):
        wrong = [option for option in one.options if option != one.answer_text]
        assert len(wrong) == 3
        assert all(any(a == option and g != one.group for g, a in answers) for option in wrong)
        words = [content_words(option) for option in one.options]
        assert sum(map(len, words)) == len(set().union(*words))


def test_the_same_questions_answers_are_drawn_first(tmp_path):
    found = load_questions(jobs(tmp_path))
    one = next(i for i in (*found.neuron, *found.test) if i.id == "1")
    assert {"rolling pin", "rope"} < set(one.options)


def test_a_control_has_the_options_and_no_question(tmp_path):
    found = load_questions(jobs(tmp_path))
    one, control = found.neuron[0], found.control[0]
    assert (control.split, control.cloze, control.question) == ("control", "Answer:", "")
    assert control.options == one.options
    assert one.question not in control.user
    assert f"A. {one.options[0]}" in control.user


def test_given_options_are_taken(tmp_path):
    given = with_column("wrong", "a lamp | a book")
    found = load(tmp_path, given)
    assert found.drawn == 0
    assert set(found.neuron[0].options) == {found.neuron[0].answer_text, "a lamp", "a book"}
    columns = [row | {"wrong_1": "a lamp", "wrong_2": "a book"} for row in rows()]
    assert load(tmp_path, columns).neuron == found.neuron


def test_whole_categories_are_in_one_split(tmp_path):
    given = with_column("category", lambda number: "abc"[number // 6])
    found = load(tmp_path, given)
    assert found.split_by == "category"
    assert [one.id for one in found.neuron] == [str(n) for n in (*range(1, 7), *range(13, 19))]


def test_the_files_own_splits(tmp_path):
    given = with_column("split", lambda number: "Test" if number < 6 else "neuron")
    found = load(tmp_path, given)
    assert (found.split_by, [one.id for one in found.test]) == ("split", list("123456"))


def test_other_formats_give_the_same(tmp_path):
    table = pd.DataFrame(rows())
    table.to_parquet(tmp_path / "jobs.parquet")
    table.to_json(tmp_path / "jobs.jsonl", orient="records", lines=True)
    plain = load_questions(jobs(tmp_path))
    for suffix in ("parquet", "jsonl"):
        assert load_questions(tmp_path / f"jobs.{suffix}").test == plain.test


def test_names_of_columns_in_any_case(tmp_path):
    given = [{name.title(): cell for name, cell in row.items()} for row in rows()]
    assert load(tmp_path, given).neuron == load_questions(jobs(tmp_path / "plain")).neuron


def test_questions_of_one_group_each_are_in_both_splits(tmp_path):
    """Each group has questions of its own: every second of each group's."""
    given = [
        row | {"question": f"{row['question']} ({row['group']} {n})"}
        for n, row in enumerate(rows())
    ]
    assert load(tmp_path, given).counts().to_dict("index") == {
        g: {"neuron": 3, "test": 3} for g in GROUPS
    }


def test_what_a_notebook_shows(tmp_path):
    found = load_questions(jobs(tmp_path))
    assert repr(found) == ("18 questions about 3 groups in jobs.csv: 9 to find neurons, 9 to test")
    assert "<th>nurse</th>" in found._repr_html_()


@pytest.mark.parametrize(("name", "groups", "count"), [("religions", 6, 138), ("elements", 7, 119)])
def test_the_files_that_come_with_the_package(name, groups, count):
    """Short answers of their own: of one question no two share a word, so all can be drawn."""
    found = load_questions(name)
    asked = (*found.neuron, *found.test)
    assert (len(found.groups), len(asked), found.split_by) == (groups, count, "category")
    assert all(len(one.options) == 4 for one in asked)
    assert all(len(one.answer_text) <= 32 for one in asked)
    assert all(one.group.lower() in one.question.lower() for one in asked)
    by_topic = {}
    for one in asked:
        by_topic.setdefault(one.topic, []).append(one.answer_text.lower())
    # A question is asked of all groups, or of the one that it fits.
    assert all(len(set(answers)) == len(answers) for answers in by_topic.values())
    assert {len(answers) for answers in by_topic.values()} == {1, groups}
    assert len({one.topic for one in found.test}) > 30


WRONG = {
    "no column": ([{"question": "What?", "answer": "a"}], "has no column 'group'"),
    "no rows": ([], "jobs.csv"),
    "an empty answer": (changed(answer=""), "row 1: column 'answer' is empty; fill it or drop it"),
    "an empty group": (changed(2, group=None), "row 3: column 'group' is empty"),
    "one group": (rows()[::3], "all questions are about 'nurse'.*give two or more"),
    "one question": (rows()[:3], "has one question, asked of several groups.*give two or more"),
    "a question twice": (
        [*rows(), rows()[0]],
        "row 19: it asks 'nurse' the question of .*row 1; keep one",
    ),
    "an id twice": (
        with_column("id", "a"),
        "row 2: its id 'a' is that of .*row 1 too; give another",
    ),
    "an unknown split": (
        with_column("split", "train"),
        "row 1: split 'train' is neither neuron nor test",
    ),
    "a split in some rows": (
        with_column("split", lambda n: "test" if n else ""),
        "row 1: its split is empty; fill it in all rows or in none",
    ),
    "a question in two splits": (
        with_column("split", lambda n: ("test", "neuron")[n % 2]),
        "row 2: its question is in the split 'test' of another group",
    ),
    "one split": (
        with_column("split", "test"),
        "no question about 'nurse' is in the split 'neuron'",
    ),
    "a category in some rows": (
        with_column("category", lambda n: ("", "a", "b")[n // 6]),
        "row 1: its category is empty; fill it or drop the column",
    ),
    "two categories of a question": (
        with_column("category", lambda n: "ab"[n % 2]),
        "row 2: its question is in the category 'a' in another row; give one",
    ),
    "a wrong option that is right": (
        with_column("wrong", "Rope|lamp"),
        "row 3: the wrong option 'Rope' is the answer; give another",
    ),
    "a wrong option twice": (
        with_column("wrong", "lamp|Lamp"),
        "row 1: the wrong option 'Lamp' is there twice",
    ),
    "two ways of wrong options": (
        [row | {"wrong": "lamp", "wrong_1": "book"} for row in rows()],
        "has columns 'wrong' and 'wrong_1': keep one way of both",
    ),
    "an unknown column of wrong options": (
        with_column("wrong answers", "lamp"),
        "column 'wrong answers' is unknown: call it wrong, or wrong_1",
    ),
    "no option can be drawn": (
        [row | {"answer": "rice"} for row in rows()],
        "row 1: no other group's answer can serve.*give wrong options",
    ),
    "a brace": (
        changed(question="What is {this}?"),
        "row 1: the question has a brace that is not {group}",
    ),
    "a group in one split": (
        [
            *rows(),
            {
                "question": "Who sails?",
                "group": "diver",
                "answer": "nobody at all",
                "group_in_text": "a diver",
            },
        ],
        "no question about 'diver' is in the split 'test'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_one_line_with_the_remedy(tmp_path, case):
    given, message = WRONG[case]
    with pytest.raises(CulnigError, match=message) as error:
        load(tmp_path, given)
    assert "\n" not in str(error.value)


def test_every_bad_row_is_told(tmp_path):
    given = changed(answer="")
    given[4] = given[4] | {"group": ""}
    given.append(given[1])
    file = write(tmp_path / "jobs.csv", given)
    found = faults_in(file)
    assert [fault.partition(": ")[0] for fault in found] == [f"{file}, row {n}" for n in (1, 5, 19)]
    with pytest.raises(CulnigError, match=r"row 1: .* \(2 more: culnig check .* lists them\)"):
        load_questions(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CulnigError, match="no file .*mine.csv"):
        load_questions(tmp_path / "mine.csv")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "mine.docx").write_text("")
    with pytest.raises(CulnigError, match="its name must end in"):
        load_questions(tmp_path / "mine.docx")


def test_an_item_whose_answer_is_no_option():
    with pytest.raises(CulnigError, match="item x: answer 7 is not among its 2 options; give"):
        Item("x", "nurse", {}, ("a", "b"), answer=7)


def test_a_control_of_a_template_with_all_options_in_one_place():
    """As the README writes templates."""
    item = Item("x", "nurse", {"question": "What?"}, ("a", "b"), answer=0, shuffle=False)
    template = Template(
        user="Question: {question}\n{options}\nReply with a letter.", cloze="{question}"
    )
    (control,) = render([item], [template], "own", split="control")
    assert control.user == "A. a\nB. b\nReply with a letter."


@pytest.mark.parametrize("task", ["everyday", "blend", "commonsenseqa", "countryrc", "mrpc"])
def test_a_file_of_questions_given_to_another_task(tmp_path, task):
    file = jobs(tmp_path)
    line = f"{file} holds questions of your own, and '{task}' reads other columns: give it as "
    with pytest.raises(CulnigError) as caught:
        load_task(task, "test", data=file)
    assert str(caught.value) == f"{line}--questions {file}"


def test_an_unknown_task_and_an_unknown_country():
    with pytest.raises(CulnigError, match=r"unknown task 'jobs': .*; questions of your own: --que"):
        load_task("jobs", "test")
    with pytest.raises(CulnigError, match=r"unknown country 'nurse': .* questions of your own \(-"):
        load_task("everyday", "test", groups=["nurse"])


def test_names_are_those_of_the_task(tmp_path):
    path = jobs(tmp_path)
    assert list(load_questions(path).names) == load_task("own-names", "neuron", data=path)
