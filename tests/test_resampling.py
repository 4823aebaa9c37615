import numpy as np
import pandas as pd
import pytest

from culnig_tl.errors import CulnigError
from culnig_tl.resampling import (
    holm,
    interval,
    p_value,
    question_numbers,
    questions_for,
    resampled_means,
    smallest_loss,
)


def drawn(values, questions, resamples: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return resampled_means(
        np.array(values, dtype=float), np.array(questions), resamples=resamples, rng=rng
    )


def test_rows_of_a_question_are_drawn_together():
    # Question 0 has rows 0 and 0, question 1 a row of 1: means 0, 1/3 or 1.
    found = drawn([0, 0, 1], [0, 0, 1])
    assert set(found.round(6)) == {0, round(1 / 3, 6), 1}
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.03)


def test_columns_are_drawn_alike():
    found = drawn([[0, 0], [1, 2], [4, 8]], [0, 1, 2])
    np.testing.assert_allclose(found[:, 1], 2 * found[:, 0])


def test_the_interval_of_a_mean():
    values = np.random.default_rng(1).normal(size=400)
    low, high = interval(drawn(values, range(400)))
    error = values.std() / 20
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error
    )


@pytest.mark.parametrize(("extreme", "p"), [(0, 1 / 100), (49, 0.5), (99, 1)])
def test_a_p_value_is_never_0(extreme, p):
    assert p_value(np.arange(99) < extreme) == pytest.approx(p)


@pytest.mark.parametrize(
    ("raw", "corrected"),
    [
        ([0.01], [0.01]),
        ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),
        ([0.04, 0.01], [0.04, 0.02]),
        ([0.5, 0.6], [1, 1]),
        ([0.2, 0.2], [0.4, 0.4]),
    ],
)
def test_holm_by_hand(raw, corrected):
    assert holm(raw).tolist() == pytest.approx(corrected)


def test_questions_of_two_tasks_are_two():
    made = pd.DataFrame({"task": ["a", "b", "a"], "id": ["1", "1", "2"], "question": ["q"] * 3})
    assert question_numbers(made).tolist() == [0, 1, 0]


def test_without_a_column_of_questions_templates_are_one():
    made = pd.DataFrame({"task": "a", "id": ["x#y", "x#y#1", "z#2", "z"]})
    assert question_numbers(made).tolist() == [0, 0, 1, 1]


def test_an_unknown_unit():
    with pytest.raises(CulnigError, match="unknown unit 'rows': choose from questions, instances"):
        question_numbers(pd.DataFrame({"id": ["a"]}), "rows")


@pytest.mark.parametrize("loss", [0.0, 1.0, 5.0, -0.1])
def test_a_loss_that_is_no_share(loss):
    with pytest.raises(CulnigError, match="give more than 0 and less than 1"):
        questions_for(loss)


def test_the_smallest_loss_is_that_of_the_questions_it_takes():
    needed = questions_for(0.05, tests=3)
    assert smallest_loss(needed, tests=3) == pytest.approx(0.05, rel=0.01)
    assert smallest_loss(1) <= 1


def test_no_resamples():
    with pytest.raises(CulnigError, match="resamples is 0: give 1"):
        drawn([1, 0], [0, 1], resamples=0)


def test_forms_of_a_question_are_one():
    made = pd.DataFrame(
        {
            "task": "a",
            "question": ["q/UK", "q/Iran", "r/Iran", "q"],
            "group": ["UK", "Iran", "Iran", ""],
        }
    )
    assert question_numbers(made).tolist() == [0, 0, 1, 0]
    read = made.assign(group=["UK", "Iran", "Iran", None])  # as pandas reads an empty cell
    assert question_numbers(read).tolist() == [0, 0, 1, 0]
    assert question_numbers(made.drop(columns="group")).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("loss", [0.03, 0.1])
def test_more_groups_of_a_question_need_fewer_questions_but_more_rows(loss):
    one, eight = questions_for(loss), questions_for(loss, each=8.0)
    assert eight < one < 8 * eight
    with pytest.raises(CulnigError, match="each is 0.5: a question is asked of one group or more"):
        questions_for(loss, each=0.5)


def test_forms_that_are_as_one_need_as_many_questions():
    assert questions_for(0.05, each=8.0, correlation=1.0) == questions_for(0.05)
    assert smallest_loss(50, each=4.0, correlation=0.0) == pytest.approx(smallest_loss(200))
