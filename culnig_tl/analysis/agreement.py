"""Agreement: how well an estimate of effects agrees with the exact ones. Needs no model."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import logging
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.frames import check_columns, numbers
from culnig_tl.resampling import mean_interval

# Of `taylor_check`, and of `patching_effects`.
Column = Literal[
    "first_order",
    "gate_exact",
    "integrated",
    "score_first_order",
    "score_gate_exact",
    "estimated",
]
STATISTICS = ("pearson", "spearman", "sign", "top", "slope")
PatchingValue = Literal["moved", "estimated", "share"]
PATCHING_VALUES: tuple[PatchingValue, ...] = get_args(PatchingValue)
FEWEST = 3
# Below this share of P(n) an effect is float32 rounding, and its sign says nothing.
ROUNDING = 1e-6
_log = logging.getLogger(__name__)


def agreement(
    effects: pd.DataFrame,
    *,
    estimate: Column = "first_order",
    by: str | Sequence[str] = "site",
    truth: str = "exact",
    largest: int = 100,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How well `estimate` agrees with `truth`, for each group, averaged over instances.

    P(y|x) differs by orders of magnitude between prompts, so every statistic is taken within a
    prompt and then averaged; the interval is the 95% percentile bootstrap over questions, the
    prompts of one question (column `question`, where there is one) together.

    Args:
        effects: the frame of `taylor_check`, or one with the columns that are named here and
            `instance` and `probability`.
        estimate: a column of an estimate, such as `first_order`, `gate_exact`, `integrated`, or
            `score_first_order`, what selects; of `patching_effects`: `estimated`.
        by: the columns that make a group, such as `site` or `layer`.
        truth: the column to agree with: `exact` (of P) or `nats` (of log P).
        largest: how many of the largest effects to compare.
        resamples: of the bootstrap.

    Returns:
        One row a group: instances, questions, effects (rows), and for each of `pearson`,
        `spearman`, `sign` (share of effects whose sign is right; effects below 1e-6 of P(n) left
        out), `top` (overlap of the `largest` by estimate with those by truth, as a share; NaN
        where a prompt has fewer than twice as many) and `slope` (of truth on estimate; 1 is
        unbiased): the mean, and `_low`, `_high` (NaN for fewer than 3 questions). Prompts in which
        all estimates or all effects are the same tell nothing and are left out, with a warning.

    Raises:
        CulnigError: a column that is not there, an estimate that was not made, a value that is
            NaN or infinite, or estimates or effects that are all the same in every prompt.

    Example:
        `effects` is a frame of `taylor_check`.

        >>> summary = agreement(effects, by="token", resamples=50)
        >>> int(summary["instances"].iloc[0]), "spearman_low" in summary
        (3, True)
    """
    groups = [by] if isinstance(by, str) else list(by)
    check_columns(effects, (estimate, truth, "instance", "probability", *groups), "these effects")
    if effects[estimate].isna().all():
        raise CulnigError(f"{estimate!r} was not computed: call taylor_check with steps above 0")
    for column in (estimate, truth, "probability"):
        numbers(effects, column, "these effects", key=["instance"])
    for column in (estimate, truth):
        values = effects.groupby("instance", sort=False)[column]
        spread = values.agg(np.ptp)[values.size() >= FEWEST]
        none = spread.index[spread == 0]
        if len(none):
            told = f"{column!r} is the same for all neurons of instance {none[0]!r}"
            if len(none) == len(spread):
                raise CulnigError(
                    f"{told}, and of all others: there is nothing to compare; take instances "
                    "whose answers are likelier"
                )
            _log.warning("%s (%d of %d such): left out", told, len(none), len(spread))
    known = "question" in effects
    # What an effect below `ROUNDING` is a share of.
    effects = effects.assign(scale=effects["probability"] if truth == "exact" else 1.0)
    rows = []
    for group, part in effects.groupby(groups, observed=True, sort=True):
        each = [
            _statistics(one[estimate], one[truth], one["scale"], largest=largest)
            for _, one in part.groupby("instance", sort=False)
        ]
        asked = part.groupby("instance", sort=False)["question" if known else "instance"].first()
        questions = pd.factorize(asked)[0]
        row = dict(zip(groups, group, strict=True))
        row |= {"instances": len(each), "questions": asked.nunique(), "effects": len(part)}
        for name, values in zip(STATISTICS, np.array(each).T, strict=True):
            low, high = _interval(values, questions, resamples, seed=seed)
            mean = np.nan if np.isnan(values).all() else float(np.nanmean(values))
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows).set_index(groups)


def patching_matrix(effects: pd.DataFrame, *, value: PatchingValue = "share") -> pd.DataFrame:
    """Source country x base country: the mean over questions of a column of `patching_effects`.

    `share`: how far the answer moves from the base's to the source's (0 to 1); `moved` and
    `estimated`: the same in nats, exact and by the gradient. Means of `share` are of moved over
    means of the distance, as single pairs can have a distance near 0.

    Raises:
        CulnigError: an unknown value, or effects that are NaN or infinite.

    Example:
        `patching` is a frame of `patching_effects` for Iran and Spain.

        >>> patching_matrix(patching, value="moved").shape
        (2, 2)
    """
    check_choice("value", value, PATCHING_VALUES)
    check_columns(effects, ("source", "target"), "these effects")
    for column in ("before", "in_source", "moved", "estimated"):
        numbers(effects, column, "these effects", key=["target_id", "source_id"])
    table = effects.assign(distance=effects["in_source"] - effects["before"])
    means = table.groupby(["source", "target"])[["moved", "estimated", "distance"]].mean()
    # As for a single pair: no share of nothing.
    means["share"] = means["moved"] / means["distance"].where(means["distance"].abs() > 1e-9)
    return means[value].unstack("target")


def _statistics(
    estimate: pd.Series, truth: pd.Series, scale: pd.Series, *, largest: int
) -> tuple[float, ...]:
    from scipy import stats

    x, y = estimate.to_numpy(dtype=float), truth.to_numpy(dtype=float)
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return (np.nan,) * len(STATISTICS)
    real = np.abs(y) > ROUNDING * scale.to_numpy(dtype=float)
    sign = float((np.sign(x) == np.sign(y))[real].mean()) if real.any() else np.nan
    overlap = np.nan
    if len(x) >= 2 * largest:
        best = [set(np.argsort(-values, kind="stable")[:largest]) for values in (x, y)]
        overlap = len(best[0] & best[1]) / largest
    slope = float(stats.linregress(x, y).slope)
    return (
        float(stats.pearsonr(x, y).statistic),
        float(stats.spearmanr(x, y).statistic),
        sign,
        overlap,
        slope,
    )


def _interval(
    values: np.ndarray, questions: np.ndarray, resamples: int, *, seed: int
) -> tuple[float, float]:
    there = ~np.isnan(values)
    if len(np.unique(questions[there])) < FEWEST:
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    return mean_interval(values[there], questions[there], rng=rng, resamples=resamples)
