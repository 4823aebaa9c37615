"""Simulated evaluations, of which the truth is known: to see what a test of evidence does."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from culnig_tl.analysis.comparison import compare
from culnig_tl.checks import check_count
from culnig_tl.resampling import SIGNIFICANT, Unit

# What a set of random neurons does to BLEnD's questions on gemma-3-270m, roughly.
ACCURACY = 0.45
CHANGED = 0.15


def simulate_study(
    *, questions: int = 200, instances: int = 1, sets: int = 10, loss: float = 0.0, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, list[pd.DataFrame]]:
    """Evaluations of a study in which masking takes exactly `loss`: original, masked, random.

    Any masking, of random neurons too, draws the answer to 15% of the questions anew and moves
    ln P(y|x) of each by a number of a heavy-tailed distribution. The culture neurons also make
    wrong what was right, of so many questions that the accuracy falls by `loss` on average, and
    take 20 times `loss` of ln P.

    Args:
        questions: different ones.
        instances: of each question, all with the same answer, as BLEnD's in the cloze format.
        sets: of random neurons.
        loss: as a share of 1.

    Returns:
        Frames with the columns of `evaluate` that `compare` reads.

    Raises:
        CulnigError: a count below 1.

    Example:
        >>> original, masked, random = simulate_study(questions=4, instances=5, sets=2)
        >>> len(original), original["question"].nunique(), len(random)
        (20, 4, 2)
    """
    for what, value in (("questions", questions), ("instances", instances), ("sets", sets)):
        check_count(what, value, least=1)
    rng = np.random.default_rng(seed)
    right = rng.random(questions) < ACCURACY
    nats = rng.normal(-6, 3, questions)

    def masked(taken: float) -> pd.DataFrame:
        anew = rng.random(questions) < CHANGED
        answers = np.where(anew, rng.random(questions) < ACCURACY, right)
        answers &= rng.random(questions) >= taken / ACCURACY
        moved = nats - 0.3 - 20 * taken + 0.5 * rng.standard_t(4, questions)
        return _frame(answers, moved, instances)

    return (
        _frame(right, nats, instances),
        masked(loss),
        [masked(0.0) for _ in range(sets)],
    )


def rejections(
    seeds: Sequence[int],
    *,
    metric: str,
    unit: Unit = "questions",
    questions: int = 200,
    instances: int = 1,
    sets: int = 10,
    loss: float = 0.0,
    resamples: int = 500,
) -> float:
    """The share of simulated studies in which `compare` finds p_mean below 0.05.

    Without a loss it ought to be 5%; with one it is the power. Half of the time goes into reading
    the frames of the random sets, so fewer `sets` are faster.

    Example:
        >>> rejections(range(5), metric="correct", questions=60, loss=0.3, resamples=100)
        1.0
    """
    found = []
    for seed in seeds:
        original, masked, random = simulate_study(
            questions=questions, instances=instances, sets=sets, loss=loss, seed=seed
        )
        table = compare(original, masked, random, metric=metric, unit=unit, resamples=resamples)
        found.append(float(table["p_mean"].iloc[0]) < SIGNIFICANT)
    return float(np.mean(found))


def _frame(right: np.ndarray, nats: np.ndarray, instances: int) -> pd.DataFrame:
    """Rows of these questions, so many of each."""
    numbers = np.repeat(np.arange(len(right)), instances)
    return pd.DataFrame(
        {
            "task": "simulated",
            "id": [f"q{number}/{row}" for row, number in enumerate(numbers)],
            "group": "",
            "question": [f"q{number}" for number in numbers],
            "correct": right[numbers],
            "probability": np.exp(np.minimum(nats[numbers], 0.0)),
            "chance": 0.25,
        }
    )
