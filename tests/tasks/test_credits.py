"""Answers that are partly right: in an instance, a row of an evaluation, a file, the table."""

import pandas as pd
import pytest
import torch

from culnig_tl.analysis.comparison import by_group, compare
from culnig_tl.analysis.evaluations import read_evaluation, write_evaluation
from culnig_tl.errors import CulnigError
from culnig_tl.measure.evaluation import _row
from culnig_tl.models.prompts import Prompt
from culnig_tl.tasks.instances import Instance
from culnig_tl.tasks.templates import Item, Template, render


def graded(credits: tuple[float, ...] | None = (0.0, 0.5, 1.0), number: int = 0) -> Instance:
    return Instance(
        id=f"Q1/{number}",
        task="worldvaluesbench",
        split="test",
        group=("Iran", "Peru")[number % 2],
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
            "group": (["Iran", "Peru"] * size)[:size],
            "template": 0,
            "answer": "3",
            "predicted": "2",
            "correct": correct,
            "correct_vocabulary": correct,
            "probability": 0.25,
        }
    )


GRADED = evaluation("worldvaluesbench", [1.0, 0.5, 1.0, 2 / 3])
MASKED = evaluation("worldvaluesbench", [0.5, 0.5, 0.0, 1 / 3])


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Two evaluations with credits, from their files."""
    folder = tmp_path_factory.mktemp("credits")
    for name, frame in (("before", GRADED), ("after", MASKED)):
        write_evaluation(frame, folder / f"{name}.csv")
    return [read_evaluation(folder / f"{name}.csv") for name in ("before", "after")]


def test_credits_in_a_file(read):
    pd.testing.assert_frame_equal(read[0], GRADED, check_dtype=False)


def test_credits_in_the_table(read):
    row = compare(read[0], read[1], [read[0]]).loc["worldvaluesbench"]
    assert row["original"] == pytest.approx(100 * (1 + 0.5 + 1 + 2 / 3) / 4)
    assert row["masked"] == pytest.approx(100 * (0.5 + 0.5 + 0 + 1 / 3) / 4)


def test_credits_that_tie_though_thirds_are_rounded(read):
    same = compare(read[0], read[1], [read[1]] * 3).loc["worldvaluesbench"]
    assert (same["p_mean"], same["p_one"]) == (1.0, 1.0)


def test_credits_of_a_country(read):
    countries = by_group(read[0], read[1], [read[0]])
    assert countries.loc[("worldvaluesbench", "Iran"), "masked"] == pytest.approx(25.0)


def test_tables_join_tasks_with_and_without_credits():
    graded_frame, plain = (
        evaluation("worldvaluesbench", [1.0, 0.5]),
        evaluation("qnli", [True, False]),
    )
    both = pd.concat([graded_frame, plain], ignore_index=True)
    table = compare(both, both, [both])
    assert list(table["original"]) == [75.0, 50.0]
    assert list(by_group(both, both, [both])["random"]) == [100.0, 50.0, 100.0, 0.0]


OF_THREE = {"id": "a", "group": None, "fields": {}, "options": ("x", "y", "z"), "answer": 0}


def test_an_items_labels_and_credits_go_with_its_options():
    item = Item(**OF_THREE, labels=("7", "8", "9"), credits=(1.0, 0.5, 0.0))
    (found,) = render([item], [Template("{options}", "Pick:")], "mine", split="test")
    assert found.labels == ("7", "8", "9")
    assert dict(zip(found.options, found.credits or (), strict=True)) == {
        "x": 1.0,
        "y": 0.5,
        "z": 0.0,
    }
    assert found.user == "\n".join(f"{x}. {o}" for x, o in zip("789", found.options, strict=True))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"labels": ("1", "2")}, "item a: 2 labels for 3 options; give one an option"),
        ({"credits": (1.0,)}, "item a: 1 credits for 3 options"),
    ],
    ids=["labels", "credits"],
)
def test_an_item_has_one_an_option(parts, message):
    with pytest.raises(CulnigError, match=message):
        Item(**OF_THREE, **parts)
