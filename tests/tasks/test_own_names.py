"""Passages whose answer is a group's name: a user's own file of them, and what is wrong with it."""

import json

import pytest
from question_files import GROUPS, jobs

from culnig_tl.errors import CulnigError
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import study_data
from culnig_tl.tasks import OWN_NAMES, load_task

PASSAGES = [
    {"id": "one", "context": "The sign said {group}.", "question": "What did the sign say?"},
    {"id": "two", "context": "Not {other}: {group}.", "question": "Which was it?"},
    {"id": "three", "context": "Ada wrote {group}.", "question": "What did Ada write?"},
]


def passages(folder, content):
    file = folder / "passages.json"
    file.write_text(json.dumps(content))
    return file


def test_passages_of_ones_own(tmp_path):
    file, mine = jobs(tmp_path), passages(tmp_path, PASSAGES)
    scored = load_task(OWN_NAMES, "neuron", data=file, passages=mine)
    asked = load_task(OWN_NAMES, "test", data=file, passages=mine)
    assert len(scored) == len(GROUPS)  # the first half of three
    assert len(asked) == 2 * len(GROUPS)
    assert scored[0].cloze.startswith("The sign said a nurse.\nQuestion: What did the sign say?")
    other = next(one for one in asked if one.id.startswith("two/baker"))
    assert other.answer_text == "a baker"
    assert [f"Not {name}: a baker." in other.cloze for name in GROUPS.values()].count(True) == 1
    assert "Not a baker" not in other.cloze


def test_a_study_reads_them(tmp_path):
    file, mine = jobs(tmp_path), passages(tmp_path, PASSAGES)
    study = Study.of_questions(file, data={OWN_NAMES: str(mine)}, rc_limit=0)
    assert study.name_filter
    assert {one.cloze.split("\n")[0] for one in study_data(study).names} == {
        f"The sign said {name}." for name in GROUPS.values()
    }


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({}, "is no list of passages: give two or more"),
        (PASSAGES[:1], "is no list of passages: give two or more"),
        ([PASSAGES[0], "text"], "passage 2: give a text each, "),
        ([PASSAGES[0], PASSAGES[1] | {"question": ""}], "passage 2: give a text each, "),
        ([PASSAGES[0], {"id": "x", "context": "{group}"}], "passage 2: give a text each, "),
        ([PASSAGES[0], PASSAGES[1] | {"context": "no one"}], "passage 2: .* does not hold {group}"),
        ([PASSAGES[0], PASSAGES[0]], "two passages 'one': give each an id of its own"),
    ],
)
def test_a_wrong_file_is_one_line_with_the_remedy(tmp_path, content, line):
    mine = passages(tmp_path, content)
    with pytest.raises(CulnigError, match=line) as caught:
        load_task(OWN_NAMES, "neuron", data=jobs(tmp_path), passages=mine)
    assert "\n" not in str(caught.value)
    assert str(mine) in str(caught.value)


def test_passages_for_another_task(tmp_path):
    with pytest.raises(CulnigError, match="passages are given for task 'everyday': they belong to"):
        load_task("everyday", "neuron", passages=passages(tmp_path, PASSAGES))
