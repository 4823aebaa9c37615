"""Frames: what is written is read back, values and types; rows of the same instances, by id."""

import numpy as np
import pandas as pd
import pytest
from frames_by_hand import frame

from culnig_tl.analysis.comparison import by_group, compare
from culnig_tl.analysis.evaluations import (
    metric_values,
    read_evaluation,
    rows_of,
    same_instances,
    write_evaluation,
)
from culnig_tl.analysis.groups import compare_groups, own_ranks, rank_groups
from culnig_tl.errors import CulnigError
from culnig_tl.frames import read_frame, write_frame
from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.finetune import FINETUNINGS, finetune_table
from culnig_tl.study.maskings import Masking
from culnig_tl.study.short_answers import REPLIES
from culnig_tl.study.tables import study_tables
from culnig_tl.study.verify import CHECKS, MORE

TEXTS = (
    *("007", "1", "1.0", "1e5", "True", "False", "nan", "NaN", "NA", "None", "inf", "", " ", "-"),
    *(
        "a\rb",
        "\r",
        "a\r\nb",
        "a\n",
        "\n",
        'a "b" c',
        '"',
        "a,b",
        " a ",
        "\ufeffa",
        "a\u2028b",
        "Ə",
    ),
)


def evaluation(text: str, correct, probability=(0.1, 1 / 3, 5e-324, 1e-300)) -> pd.DataFrame:
    name = text if text.strip() else "x"  # an id or a task has one
    return pd.DataFrame(
        {
            "id": [name, "b", "c", "d"],
            "task": ["t", name, "t", "t"],
            "group": [text, "", "", "Spain"],
            "template": [0, 0, 1, 2],
            "answer": text,
            "predicted": [text, "x", text, "y"],
            "correct": correct,
            "correct_vocabulary": correct,
            "probability": probability,
        }
    )


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_an_evaluation_is_read_back(text, tmp_path):
    for number, correct in enumerate(([True] * 4, [False, True] * 2, [0.5, 0.0, 1.0, 1 / 3])):
        written = evaluation(text, correct)
        write_evaluation(written, tmp_path / f"{number}.csv")
        pd.testing.assert_frame_equal(read_evaluation(tmp_path / f"{number}.csv"), written)
    # As if all were such: nothing else in the column says that it is text.
    alike = written.assign(group=text, predicted=text, probability=1.0).iloc[:1]
    write_evaluation(alike, tmp_path / "alike.csv")
    pd.testing.assert_frame_equal(read_evaluation(tmp_path / "alike.csv"), alike)


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_short_answers_are_read_back(text, tmp_path):
    written = pd.DataFrame(
        {
            "id": ["1", "2"], "task": "blend-saq", "country": "Iran", "language": "fa",
            "question": text, "reply": text, "correct": [True, False],
        }
    )  # fmt: skip
    write_evaluation(written, tmp_path / "replies.csv")
    pd.testing.assert_frame_equal(read_frame(tmp_path / "replies.csv", REPLIES), written)


OTHERS = {
    "effects": pd.DataFrame(
        {
            "layer": [0, 1], "site": ["gate", "q"], "index": [3, 4], "position": [-1, -1],
            "token": ["", "\r"], "instance": ["007", "True"], "group": ["", ""],
            "probability": [0.1, 1e-300], "first_order": [0.0, -1.0],
            "integrated": [np.nan, np.nan], "exact": [1 / 3, 2e-9],
        }
    ),
    "interactions": pd.DataFrame(
        {
            "instance": ["1", "2"], "group": "", "probability": [0.5, 1.0],
            "first_order": [0.0, 1.0], "singles": 0.25, "singles_nats": [np.nan, 0.5],
            "joint": [0.1, 0.2], "joint_nats": [1.0, np.nan], "set": "1", "neurons": 3,
        }
    ),
    "doses": pd.DataFrame(
        {
            "set": "1", "factor": [0.0, 1.0], "items": [4, 4], "accuracy": 1.0,
            "probability": [0.25, 1.0],
        }
    ),
    "patching": pd.DataFrame(
        {
            "source": "1", "target": "2", "source_id": "01", "target_id": "nan",
            "source_answer": "4", "target_answer": "5\r", "before": [0.0, 1.0], "after": 0.5,
            "in_source": 0.75, "moved": [0.5, -0.5], "share": [np.nan, 0.5], "estimated": 0.1,
            "question": [0, 1], "set": "1", "instance": [0, 1], "probability": 1.0,
        }
    ),
    "curves": pd.DataFrame(
        {
            "which": ["top", "all"], "learning_rate": [1e-5, 3e-5], "seed": 0, "step": [0, 10],
            "task": "1", "items": 4, "accuracy": [25.0, 50.0], "probability": [1.0, 2.0],
            "nats": [-1.0, -2.0], "kept": [False, True], "neurons": 0, "trained": "1",
        }
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_files_of_a_run_are_read_back(name, tmp_path):
    schema = {**CHECKS, **MORE, **FINETUNINGS}[name]
    write_frame(OTHERS[name], tmp_path / "x.csv")
    pd.testing.assert_frame_equal(read_frame(tmp_path / "x.csv", schema), OTHERS[name])
    indexed = OTHERS[name].set_index(list(OTHERS[name].columns[:2]))
    write_frame(indexed, tmp_path / "x.csv", index=True)
    pd.testing.assert_frame_equal(read_frame(tmp_path / "x.csv", schema), OTHERS[name])


def test_a_file_of_before_is_read(tmp_path):
    """As pandas wrote it: no quotes but where they are needed."""
    written = evaluation("x,y", [True] * 4)
    written.to_csv(tmp_path / "x.csv", index=False)
    pd.testing.assert_frame_equal(read_evaluation(tmp_path / "x.csv"), written)
    before = (tmp_path / "x.csv").read_bytes()
    write_evaluation(written, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n", "row 1 has 1 cells, expected 9"),
        ("1,2,3,4,5,6,7,8,9\n1,2\n", "row 2 has 2 cells, expected 9"),
        ('"1,2\n', "no CSV in UTF-8 .unexpected end of data"),
        ("a\rb,2,3,4,5,6,7,8,9\n", "row 1 has 1 cells, expected 9"),
        ("", "no rows"),
    ],
)
def test_a_file_that_is_no_table(content, message, tmp_path):
    header = ",".join(evaluation("x", [True] * 4).columns) + "\n"
    (tmp_path / "x.csv").write_bytes((header + content).encode())
    with pytest.raises(CulnigError, match=rf"x\.csv is damaged \({message}.*: delete it and give"):
        read_evaluation(tmp_path / "x.csv")


def test_no_file_of_an_evaluation(tmp_path):
    with pytest.raises(CulnigError, match=r"no file .*no\.csv: check the path"):
        read_evaluation(tmp_path / "no.csv")


# Frames over different instances, or in different rows: each is refused by every function.
SAME = frame([1, 1, 0, 1]).assign(probability=0.5)
OTHER_ID = SAME.assign(id=["everyday-0", "everyday-1", "everyday-2", "new"])
WRONG = {
    "other id": (OTHER_ID, "instance 'everyday-3' of 'everyday' is in .* and not in "),
    "fewer": (SAME.iloc[:3], "instance 'everyday-3' of 'everyday' is in "),
    "more": (pd.concat([SAME, OTHER_ID.iloc[3:]]), "instance 'new' of 'everyday' is in "),
    "other task": (SAME.assign(task="blend"), "instance 'everyday-0' of 'everyday' is in "),
    "other order": (SAME.iloc[::-1], "in row 0: instance 'everyday-0' of 'everyday' in "),
    "reordered": (SAME.iloc[::-1].reset_index(drop=True), "in row 0: instance 'everyday-0'"),
    "ids of numbers": (SAME.assign(id=[0, 1, 2, 3]), "instance 'everyday-0' of 'everyday' is in"),
}
COMPARED = {
    "compare, masked": lambda f: compare(SAME, f, [SAME]),
    "compare, random": lambda f: compare(SAME, SAME, [SAME, f]),
    "compare, original": lambda f: compare(f, SAME, [SAME]),
    "by_group, masked": lambda f: by_group(SAME, f, [SAME]),
    "by_group, random": lambda f: by_group(SAME, SAME, [SAME, f]),
    "by_group, original": lambda f: by_group(f, SAME, [SAME]),
    "compare_groups": lambda f: compare_groups(SAME, {"Iran": SAME, "Spain": f}),
    "own_ranks": lambda f: own_ranks(SAME, {"Iran": SAME, "Spain": f}),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", COMPARED)
def test_frames_of_different_instances_are_refused(name, wrong):
    other, message = WRONG[wrong]
    if "original" in name:
        message = "of 'everyday'|of 'blend'"
    with pytest.raises(CulnigError, match=f"evaluations are of different instances.*({message})"):
        COMPARED[name](other)


@pytest.mark.parametrize("name", COMPARED)
def test_an_instance_that_is_twice_in_a_frame(name):
    twice = pd.concat([SAME, SAME.iloc[1:2]])
    with pytest.raises(CulnigError, match="'everyday-1' of 'everyday' is in .* twice: keep one"):
        COMPARED[name](twice)


@pytest.mark.parametrize("name", COMPARED)
def test_a_frame_without_ids(name):
    with pytest.raises(CulnigError, match="no column 'id' in these evaluations: they have task, "):
        COMPARED[name](SAME.drop(columns="id"))


def test_the_index_of_a_frame_does_not_matter():
    """As where frames of two tasks are joined: 0, 1, 2, 3, 0, 1."""
    before = [SAME, frame([1, 0], task="two")]
    after = [frame([0, 1, 0, 0]), frame([0, 0], task="two")]
    reset = [pd.concat(frames, ignore_index=True) for frames in (before, after)]
    joined = [pd.concat(frames) for frames in (before, after)]
    moved = [joined[0].set_axis(range(5, -1, -1)), reset[1].set_index("id", drop=False)]
    for original, masked in (joined, moved, (reset[0], joined[1])):
        for call in (
            lambda o, m: compare(o, m, [o]),
            lambda o, m: by_group(o, m, [o]),
            lambda o, m: compare_groups(o, {"Iran": m}),
            lambda o, m: own_ranks(o, {"Iran": m}),
        ):
            pd.testing.assert_frame_equal(call(original, masked), call(*reset))
    table = by_group(joined[0], joined[1], [joined[0]])
    assert table["masked"].to_list() == [0.0, 50.0, 0.0, 0.0]


@pytest.mark.parametrize("call", [by_group, compare])
def test_a_country_that_a_file_has_not(call):
    """pandas reads the empty field of a CSV as NaN."""
    nowhere = SAME.assign(group=["", "Iran", "", "Iran"])
    read = nowhere.assign(group=[np.nan, "Iran", None, "Iran"])
    pd.testing.assert_frame_equal(call(nowhere, nowhere, [nowhere]), call(read, nowhere, [nowhere]))


def test_countries_of_a_file_that_has_none():
    with pytest.raises(CulnigError, match="no instance has a group"):
        compare_groups(SAME.assign(group=np.nan), {"Iran": SAME})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None, "x", pd.NA], ids=str)
@pytest.mark.parametrize("name", COMPARED)
def test_a_metric_that_is_no_number_is_refused(name, value):
    correct = pd.Series([True, True, value, False], dtype=object)
    with pytest.raises(CulnigError, match="correct of 'everyday-2' of 'everyday' is .*float32"):
        COMPARED[name](SAME.assign(correct=correct))


def test_nats_of_a_probability_that_is_none():
    bad = SAME.assign(probability=[0.5, 0.0, np.nan, 1.0])
    with pytest.raises(CulnigError, match="probability of 'everyday-2' of 'everyday' is nan in"):
        compare(SAME, bad, [SAME], metric="nats")


def test_nats_of_a_probability_of_0_are_finite():
    assert metric_values(SAME.assign(probability=0.0), "nats")[1] == pytest.approx(np.log(1e-30))


def test_nats_without_probabilities():
    with pytest.raises(CulnigError, match="no column 'probability' in these evaluations: they hav"):
        compare(frame([1]), frame([1]), [frame([1])], metric="nats")


def test_a_reduction_that_is_no_number_has_no_rank():
    reductions = pd.DataFrame({"Iran": [1.0, np.nan]}, index=["Iran", "Spain"])
    with pytest.raises(CulnigError, match="Iran of 'Spain' is nan in the reductions"):
        rank_groups(reductions.rename_axis("neurons"))


def test_rows_of_some_instances_are_in_their_order():
    assert rows_of(SAME, SAME.iloc[[3, 1]], "x")["id"].to_list() == ["everyday-3", "everyday-1"]


def test_rows_of_an_instance_that_is_not_there():
    with pytest.raises(CulnigError, match="instance 'new' of 'everyday' is not in x"):
        rows_of(SAME, OTHER_ID, "x")


def test_rows_of_an_instance_that_is_there_twice():
    with pytest.raises(CulnigError, match="'everyday-0' of 'everyday' is in x twice"):
        rows_of(pd.concat([SAME, SAME]), SAME, "x")


def test_the_same_instances_under_another_index():
    assert [len(f) for f in same_instances({"a": SAME, "b": SAME.set_axis(list("wxyz"))})] == [4, 4]


def tables_with(kind, last):
    """A study's tables, where the last set, of this kind, has these answers."""
    neurons = NeuronSet(NeuronLayout(n_layers=1, gate=4, q=1, k=1, v=1), np.array([1]), "set")
    made = [
        Masking("original", "original", None), Masking("culture-general", "general", None),
        Masking("random-0", "random", None), Masking(name="Iran", kind=kind, select=None, about={"t": 0.1, "r": 0.1}),
    ]  # fmt: skip
    sets = {m.name: NeuronSet(neurons.layout, neurons.ids, m.name) for m in made[1:]}
    return study_tables(made, sets, {masking.name: SAME for masking in made} | {"Iran": last})


KINDS = pytest.mark.parametrize("kind", ["ablation", "sweep", "specific"])


@KINDS
def test_tables_of_a_study(kind):
    assert "table" in tables_with(kind, SAME)


@KINDS
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (OTHER_ID, "evaluations are of different instances: .*'new'|every"),
        (pd.concat([SAME, SAME]), "'everyday-0' of 'everyday' is in .* twice"),
        (SAME.assign(correct=np.nan), "correct of 'everyday-0' of 'everyday' is nan"),
    ],
    ids=["other id", "twice", "no number"],
)
def test_tables_of_a_study_are_of_the_same_instances(kind, other, message):
    with pytest.raises(CulnigError, match=message):
        tables_with(kind, other)


CURVES = pd.DataFrame(
    {
        "which": "top", "learning_rate": 1e-5, "seed": 0, "step": [0, 0, 2, 2],
        "task": ["own", "blend"] * 2, "items": [4, 8] * 2, "accuracy": 50.0, "nats": -1.0,
        "kept": [False, False, True, True], "neurons": 3, "trained": "own",
    }
)  # fmt: skip


def test_finetunings_that_belong_together():
    assert finetune_table(CURVES)["task"].to_list() == [50.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nats": [-1.0, -1.0, np.nan, -1.0]}, "nats of 2 of 'own' is nan in the curves"),
        ({"items": [4, 8, 4, 7]}, "different items of 'blend'"),
        ({"kept": False}, "a fine-tuning of 'own' has no kept step, or two"),
        ({"kept": True}, "a fine-tuning of 'own' has no kept step, or two"),
        ({"step": 2}, "a fine-tuning of 'own' has no step 0, or two"),
    ],
    ids=["no number", "other items", "no kept step", "two kept steps", "no first step"],
)
def test_finetunings_that_do_not_belong_together(changes, message):
    with pytest.raises(CulnigError, match=message):
        finetune_table(CURVES.assign(**changes))
