# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# (pandas types most results as unions of everything it can return)
"""Comparison: the table of what masking does, with the paper's bootstrap significance."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from culnig_tl.errors import CulnigError

SIGNIFICANT = 0.05


def compare(
    original: pd.DataFrame,
    masked: pd.DataFrame,
    random: Sequence[pd.DataFrame],
    metric: str = "correct",
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The counterpart of Table 2, from frames of `evaluate` over the same instances.

    p is the share of bootstrap resamples of the instances in which the reduction under random
    neurons is at least that under the masked ones (section 4.3): `p_mean` with the mean over the
    random sets, `p_one` with one set drawn uniformly per resample.

    Returns:
        One row a task: items, original, masked, random (their mean), random_sd (population
        standard deviation over the sets), all in percent of `metric`; p_mean, p_one;
        significant: both are below 0.05.

    Raises:
        CulnigError: no random set, or frames over different instances.
    """
    if not len(random):
        raise CulnigError("no random evaluation to compare with: give one or more")
    key = ["task", "id"]
    for other in (masked, *random):
        if not original[key].equals(other[key]):
            raise CulnigError(
                "the evaluations are of different instances: evaluate the same list each time"
            )
    rng = np.random.default_rng(seed)
    rows = []
    for task, part in original.groupby("task", sort=False):
        here = part.index
        before = part[metric].to_numpy(dtype=float)
        after = masked.loc[here, metric].to_numpy(dtype=float)
        controls = np.stack([frame.loc[here, metric].to_numpy(dtype=float) for frame in random])
        p_mean, p_one = _p_values(before, after, controls, resamples, rng)
        rows.append(
            {
                "task": task,
                "items": len(part),
                "original": 100 * before.mean(),
                "masked": 100 * after.mean(),
                "random": 100 * controls.mean(),
                "random_sd": 100 * controls.mean(axis=1).std(),
                "p_mean": p_mean,
                "p_one": p_one,
                "significant": p_mean < SIGNIFICANT and p_one < SIGNIFICANT,
            }
        )
    return pd.DataFrame(rows).set_index("task")


def by_country(
    original: pd.DataFrame, masked: pd.DataFrame, random: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """Accuracy in percent per task and country: items, original, masked, random mean."""
    table = original.assign(
        masked=masked["correct"], random=np.mean([f["correct"] for f in random], axis=0)
    )
    table = table[table["country"] != ""].rename(columns={"correct": "original"})
    grouped = table.groupby(["task", "country"], sort=False)
    percent = 100 * grouped[["original", "masked", "random"]].mean()
    return pd.concat([grouped.size().rename("items"), percent], axis=1)


def _p_values(
    before: np.ndarray,
    after: np.ndarray,
    controls: np.ndarray,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Both p-values; the arrays are [item], [item] and [random set, item]."""
    counts = rng.multinomial(len(before), np.full(len(before), 1 / len(before)), size=resamples)
    masked_reduction = counts @ (before - after)
    random_reductions = counts @ (before - controls).T
    drawn = random_reductions[np.arange(resamples), rng.integers(len(controls), size=resamples)]
    # A tie is a tie, but for rounding: of the mean, and of credits that are no whole numbers.
    at_least = masked_reduction - 1e-9
    p_mean = float((random_reductions.mean(axis=1) >= at_least).mean())
    return p_mean, float((drawn >= at_least).mean())
