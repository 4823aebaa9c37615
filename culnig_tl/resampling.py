"""Resampling: the bootstrap over questions, its intervals and p-values, and Holm's correction.

What is drawn again are questions: the templates and instances of one say the same thing several
times, and so do its forms about several groups. The paper draws instances; `unit="instances"` does.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
import pandas as pd

from culnig_tl.checks import check_choice, check_count
from culnig_tl.errors import CulnigError
from culnig_tl.frames import tidied

Unit = Literal["questions", "instances"]
UNITS: tuple[Unit, ...] = get_args(Unit)
RESAMPLES = 2000
ENDS = (0.025, 0.975)  # of a 95% interval
TIE = 1e-7  # what is nearer to 0 is 0, but for rounding: of a mean, and of credits
SIGNIFICANT = 0.05
# With fewer questions nothing is called significant: `benchmarks/evidence.py` counts how often a
# true null is rejected then.
FEWEST_QUESTIONS = 30
# Over BLEnD's questions about a country, with the culture-general neurons of gemma-3-270m masked
# (`benchmarks/results/evidence.json`), and the correlation of two about the same.
DEVIATION = 0.355
CORRELATION = 0.112


def question_numbers(frame: pd.DataFrame, unit: Unit = "questions") -> np.ndarray:
    """A number for the question of each row; rows of one number are drawn together.

    A question is known by its task and the column `question`, whatever group it is about
    (`Instance.topic`). Where there is none (evaluations of earlier versions) it is the item: `id`
    without the template's number.

    Raises:
        CulnigError: an unknown unit.

    Example:
        >>> frame = pd.DataFrame({"task": "t", "id": ["a", "b", "c"], "question": ["x", "y", "x"]})
        >>> question_numbers(frame).tolist(), question_numbers(frame, "instances").tolist()
        ([0, 1, 0], [0, 1, 2])
        >>> frame = frame.assign(question=["x/UK", "y/UK", "x/US"], group=["UK", "UK", "US"])
        >>> question_numbers(frame).tolist()
        [0, 1, 0]
    """
    check_choice("unit", unit, UNITS)
    if unit == "instances":
        return np.arange(len(frame))
    frame = tidied(frame)
    if "question" not in frame:
        items = frame["id"].astype(str).str.replace(r"#\d+$", "", regex=True)
        frame = frame.assign(question=items)
    asked = topics(frame)
    tasks = frame["task"].astype(str) if "task" in frame else pd.Series("", index=frame.index)
    return pd.MultiIndex.from_arrays([tasks, asked]).factorize()[0]


def topics(frame: pd.DataFrame) -> pd.Series:
    """What each row asks, whatever the group: its `question`, without the `group` at its end.

    Example:
        >>> topics(pd.DataFrame({"question": ["x/UK", "y"], "group": ["UK", ""]})).tolist()
        ['x', 'y']
    """
    asked = pd.Series(frame["question"], dtype=str)
    if "group" not in frame:
        return asked
    ends = (f"/{group}" if group else "" for group in tidied(frame)["group"].astype(str))
    found = [one.removesuffix(end) for one, end in zip(asked, ends, strict=True)]
    return pd.Series(found, frame.index, dtype=object)


def resampled_means(
    values: np.ndarray, questions: np.ndarray, *, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Means over rows in bootstrap resamples of the questions, all rows of a question together.

    Args:
        values: [row] or [row, column].
        questions: [row], numbers as of `question_numbers`.

    Returns:
        [resample] or [resample, column]: in each, as many questions as there are, drawn with
        replacement.

    Raises:
        CulnigError: fewer than one resample.
    """
    check_count("resamples", resamples, least=1)
    _, codes = np.unique(questions, return_inverse=True)
    count = int(codes.max()) + 1
    columns = np.atleast_2d(values.T).astype(float)
    sums = np.stack([np.bincount(codes, column, minlength=count) for column in columns], axis=1)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    means = drawn @ sums / (drawn @ np.bincount(codes, minlength=count))[:, None]
    return means if values.ndim > 1 else means[:, 0]


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """The 95% percentile interval of resampled values.

    Example:
        >>> interval(np.arange(101.0))
        (2.5, 97.5)
    """
    low, high = np.quantile(drawn, ENDS)
    return float(low), float(high)


def mean_interval(
    values: np.ndarray,
    questions: np.ndarray,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The 95% interval of the mean of `values`, [row], over resampled questions.

    Raises:
        CulnigError: as `resampled_means`.

    Example:
        >>> ones = np.ones(4)
        >>> mean_interval(ones, np.arange(4), rng=np.random.default_rng(0))
        (1.0, 1.0)
    """
    return interval(resampled_means(values, questions, resamples=resamples, rng=rng))


def p_value(as_extreme: np.ndarray) -> float:
    """(k + 1) / (n + 1), where k of n resamples are as extreme: never 0, as n is finite.

    Example:
        >>> p_value(np.zeros(1999, dtype=bool))
        0.0005
    """
    return float((as_extreme.sum() + 1) / (len(as_extreme) + 1))


def p_text(p: float) -> str:
    """A p-value as it is printed.

    Example:
        >>> p_text(0.0005), p_text(0.0312), p_text(float("nan"))
        ('< 0.001', '0.031', '-')
    """
    return "-" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def questions_for(
    loss: float,
    *,
    tests: int = 1,
    each: float = 1.0,
    power: float = 0.8,
    deviation: float = DEVIATION,
    correlation: float = CORRELATION,
) -> int:
    """How many questions it takes to find a loss of accuracy, beyond what random neurons take.

    By the normal approximation: ((z_alpha + z_power) s / loss)^2, one-sided, where alpha is 5%
    divided by the number of tests, as Holm's correction asks of the smallest p. s is the standard
    deviation over questions: deviation x sqrt((1 + (each - 1) correlation) / each), as one that is
    asked of several groups counts for more, but not as often as it is asked (Kish's design effect).
    `benchmarks/evidence.py` checks it by simulated studies.

    Args:
        loss: as a share of 1.
        each: of how many groups a question is asked, on average.
        power: in what share of studies it is to be found.
        deviation: standard deviation, over questions about a group, of what the neurons take (-1,
            0 or 1) minus what random ones take on average.
        correlation: of that, between two groups of the same question.

    Raises:
        CulnigError: a loss or power that is not above 0 and below 1, or `each` below 1.

    Example:
        >>> questions_for(0.10) < questions_for(0.05) < questions_for(0.05, tests=5)
        True
        >>> few = questions_for(0.05, each=8.0)
        >>> few < questions_for(0.05) < 8 * few
        True
    """
    for what, value in (("loss", loss), ("power", power)):
        if not 0 < value < 1:
            raise CulnigError(f"{what} is {value}: give more than 0 and less than 1")
    check_count("tests", tests, least=1)
    of_one = _found_by_one(tests, each, power=power, deviation=deviation, correlation=correlation)
    return max(FEWEST_QUESTIONS, math.ceil((of_one / loss) ** 2))


def smallest_loss(
    questions: int,
    *,
    tests: int = 1,
    each: float = 1.0,
    power: float = 0.8,
    deviation: float = DEVIATION,
    correlation: float = CORRELATION,
) -> float:
    """The smallest loss of accuracy, as a share of 1, that so many questions find
    (`questions_for`)."""
    check_count("questions", questions, least=1)
    of_one = _found_by_one(tests, each, power=power, deviation=deviation, correlation=correlation)
    return min(1.0, of_one / math.sqrt(questions))


def _found_by_one(
    tests: int, each: float, *, power: float, deviation: float, correlation: float
) -> float:
    """The loss that a single question would find: (z_alpha + z_power) s (`questions_for`)."""
    if not each >= 1:
        raise CulnigError(f"each is {each}: a question is asked of one group or more")
    normal = NormalDist()
    quantiles = normal.inv_cdf(1 - SIGNIFICANT / tests) + normal.inv_cdf(power)
    return quantiles * deviation * math.sqrt((1 + (each - 1) * correlation) / each)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's correction for several tests: adjusted p-values, in the order of `p_values`.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may be below the one
    before it (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    raw = np.asarray(p_values, dtype=float)
    order = np.argsort(raw, kind="stable")
    factors = len(raw) - np.arange(len(raw))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * factors), 1.0)
    return adjusted


def verdicts(p: np.ndarray, questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a table's tests: `holm` of p, and whether that is significant on enough questions.

    Args:
        p: [test]; NaN, where nothing could be tested, counts as 1.
        questions: [test], how many each was made on.

    Example:
        >>> p_holm, significant = verdicts(np.array([0.001, 0.001]), np.array([100, 10]))
        >>> p_holm.tolist(), significant.tolist()
        ([0.002, 0.002], [True, False])
    """
    p_holm = holm(np.where(np.isnan(p), 1.0, p))
    return p_holm, (p_holm < SIGNIFICANT) & (questions >= FEWEST_QUESTIONS)
