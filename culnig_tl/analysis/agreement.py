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
from culnig_tl.resampling import interval, mean_interval, resampled_means, topics

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
    if known:
        effects["question"] = topics(effects)
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


def rank_agreement(
    effects: pd.DataFrame,
    *,
    by: str = "site",
    truth: str = "nats",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether what neurons are ranked by says what they do on average, over a whole dataset.

    A neuron's rank value (mean score minus the control's) is one number; here it is held against
    the mean over questions of the neuron's true effect. The 95% intervals are from bootstrap
    resamples of the questions.

    Args:
        effects: the frame of `taylor_check`, with the columns `rank` (the rank value) and
            `selected` (whether the neuron is in the set).
        by: the column that makes a group.
        truth: the effect: `nats` or `exact`.
        resamples: of the bootstrap.

    Returns:
        One row a group: neurons, questions; spearman (of rank value and mean effect);
        selected and others (the mean effect of the set's neurons, and of the others); right (the
        share of the set's neurons whose mean effect is above 0, so that masking them costs): each
        with `_low` and `_high`; NaN where there are none, or fewer than 3 questions.

    Raises:
        CulnigError: a column that is not there, or a value that is NaN or infinite.

    Example:
        `effects` is a frame of `taylor_check`.

        >>> ranked = effects.assign(rank=effects["exact"], selected=effects["index"] < 9)
        >>> "spearman_low" in rank_agreement(ranked, by="token", resamples=20)
        True
    """
    keys = ["layer", "site", "index"]
    check_columns(effects, (*keys, "rank", "selected", "instance", truth, by), "these effects")
    for column in ("rank", truth):
        numbers(effects, column, "these effects", key=["instance"])
    asked = "question" if "question" in effects else "instance"
    if asked == "question":
        effects = effects.assign(question=topics(effects))
    rng, rows = np.random.default_rng(seed), {}
    for group, part in effects.groupby(by, observed=True, sort=True):
        means = part.pivot_table(index=keys, columns=asked, values=truth, observed=True)
        about = part.groupby(keys, observed=True)[["rank", "selected"]].first().loc[means.index]
        effect, rank = means.to_numpy(), about["rank"].to_numpy(dtype=float)
        chosen, count = about["selected"].to_numpy(dtype=bool), effect.shape[1]
        drawn = resampled_means(effect.T, np.arange(count), resamples=resamples, rng=rng)
        row: dict[str, float] = {"neurons": len(effect), "questions": count}
        found = _of_ranking(rank, effect.mean(axis=1), chosen)
        again = [_of_ranking(rank, means_again, chosen) for means_again in drawn]
        for name, value in found.items():
            values = np.array([one[name] for one in again])
            few = count < FEWEST or np.isnan(values).any()
            low, high = (np.nan, np.nan) if few else interval(values)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows[group] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by)


def _of_ranking(rank: np.ndarray, effect: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
    from scipy import stats

    there, others = chosen.any(), (~chosen).any()
    flat = len(rank) < FEWEST or np.ptp(rank) == 0 or np.ptp(effect) == 0
    return {
        "spearman": np.nan if flat else float(stats.spearmanr(rank, effect).statistic),
        "selected": float(effect[chosen].mean()) if there else np.nan,
        "others": float(effect[~chosen].mean()) if others else np.nan,
        "right": float((effect[chosen] > 0).mean()) if there else np.nan,
    }


def patching_matrix(effects: pd.DataFrame, *, value: PatchingValue = "share") -> pd.DataFrame:
    """Source group x base group: the mean over questions of a column of `patching_effects`.

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
