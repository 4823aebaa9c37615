"""Exercises about evidence: p, and how many questions it takes."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import pandas as pd

from culnig_tl.analysis.comparison import compare
from culnig_tl.exercises.checking import NotYet, called, number
from culnig_tl.resampling import DEVIATION, questions_for

_Z_ALPHA, _Z_ALPHA_TWO, _Z_POWER = (NormalDist().inv_cdf(share) for share in (0.95, 0.975, 0.8))


def p_value(
    frames: tuple[pd.DataFrame, pd.DataFrame, Sequence[pd.DataFrame]],
    yours: Callable[[pd.DataFrame, Sequence[pd.DataFrame]], float],
) -> str:
    """Exercise: the p-value of `compare`, by a bootstrap over questions.

    Args:
        frames: original, masked and a list of random ones, of `evaluate`, on one task; each
            question in one row.
        yours: takes masked and the random ones, gives p.

    Raises:
        NotYet: it is further from `compare`'s than two bootstraps differ.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> p_value((original, masked, random), lambda masked, random: -1.0)
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: p is -1: it is a share of resamples, from 0 to 1
    """
    original, masked, random = frames
    expected = float(compare(original, masked, random)["p_mean"].iloc[0])
    found = number("p", called(lambda: yours(masked, random)))
    if not 0 <= found <= 1:
        raise NotYet(f"p is {found:g}: it is a share of resamples, from 0 to 1")
    if found == 0:
        raise NotYet("p is 0: of n resamples take (k + 1) / (n + 1), as n is finite")
    spread = 4 * math.sqrt(max(expected * (1 - expected), 0.001) / 1000) + 0.002
    if abs(found - expected) <= spread:
        return f"Right: p = {found:.3g}; compare says {expected:.3g}, from other resamples."
    hint = "count the resamples in which random neurons take at least as much as the masked ones"
    if abs(1 - found - expected) <= spread:
        hint = "that is the other side: " + hint
    raise NotYet(f"p is {found:.3g}, expected about {expected:.3g}: {hint}")


def questions_needed(yours: Callable[[float, float], float]) -> str:
    """Exercise: how many questions it takes to find a loss in 80 of 100 studies, at 5%.

    Args:
        yours: takes the loss, as a share of 1, and the standard deviation over questions of what
            masking takes beyond random; gives the number of questions.

    Raises:
        NotYet: it gives another number than `questions_for`.

    Example:
        >>> questions_needed(lambda loss, deviation: (1.645 * deviation / loss) ** 2)
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: for a loss of 0.05 ... half of such studies ...
    """
    for loss, deviation in ((0.05, DEVIATION), (0.02, DEVIATION), (0.05, 2 * DEVIATION)):
        expected = questions_for(loss, deviation=deviation)
        found = number("questions", called(lambda at=(loss, deviation): yours(*at)))
        if math.isclose(found, expected, rel_tol=0.02, abs_tol=1):
            continue
        ratio = deviation / loss
        hints = {
            (_Z_ALPHA * ratio) ** 2: "so half of such studies find nothing: add the z of 80%",
            ((_Z_ALPHA_TWO + _Z_POWER) * ratio) ** 2: "a loss has one side: take the z of 95%",
            (_Z_ALPHA + _Z_POWER) * ratio: "square it",
        }
        hint = next(
            (text for value, text in hints.items() if math.isclose(found, value, rel_tol=0.02)),
            "the mean of n questions spreads by deviation / sqrt(n); the loss has to be 1.645 + "
            "0.842 of these",
        )
        raise NotYet(
            f"for a loss of {loss} and a deviation of {deviation:.3g} you say {found:.0f} "
            f"questions, expected {expected}: {hint}"
        )
    return f"Right: {questions_for(0.05)} questions for a loss of five points."
