"""Groups: does a group's own set of neurons hit its questions? A bootstrap over questions."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from culnig_tl.analysis.evaluations import metric_values, same_instances
from culnig_tl.errors import CulnigError
from culnig_tl.frames import check_columns, numbers
from culnig_tl.no_group import IN_FRAMES
from culnig_tl.resampling import (
    ENDS,
    RESAMPLES,
    TIE,
    Unit,
    holm,
    interval,
    p_value,
    question_numbers,
    resampled_means,
    verdicts,
)

# In what share of the resamples the sets together must take something.
KNOWN = 0.99
# Countries with a common language or border; a choice of ours, and an argument.
RELATED = {
    "China": ("North Korea", "South Korea"),
    "Indonesia": ("West Java",),
    "Iran": ("Azerbaijan",),
    "Mexico": ("Spain", "USA"),
    "South Korea": ("North Korea", "China"),
    "Spain": ("Mexico",),
    "UK": ("USA",),
    "USA": ("UK", "Mexico"),
}


def compare_groups(
    original: pd.DataFrame, masked: Mapping[str, pd.DataFrame], *, metric: str = "correct"
) -> pd.DataFrame:
    """How far each group's questions fall when another's neurons are masked.

    Args:
        original: `evaluate` with nothing masked.
        masked: by group, `evaluate` over the same instances with its neurons masked.

    Returns:
        Neurons' group (rows) x question's group (columns): the reduction of `metric`, in
        percent points (`nats`: of ln P(y|x)).

    Raises:
        CulnigError: no masked evaluation, frames over different instances, or no groups.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> compare_groups(original, {"Iran": masked}).shape  # neurons x questions
        (1, 4)
    """
    original, masked = _same_groups(original, masked)
    return pd.DataFrame(
        {group: _reductions(original, frame, metric).mean() for group, frame in masked.items()}
    ).T.rename_axis(index="neurons", columns="question")


def rank_groups(reductions: pd.DataFrame) -> pd.DataFrame:
    """Ranks of `compare_groups` within each row: 1 is hit hardest; ties share a mean rank.

    Raises:
        CulnigError: a reduction that is no number.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> reductions = compare_groups(original, {"Iran": masked}, metric="nats")
        >>> sorted(rank_groups(reductions).loc["Iran"])
        [1.0, 2.0, 3.0, 4.0]
    """
    for group in reductions:
        numbers(reductions, group, "the reductions", key=reductions.index.names)
    return reductions.rank(axis=1, ascending=False)


def group_intervals(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    *,
    metric: str = "correct",
    unit: Unit = "questions",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The ends of the 95% intervals of `compare_groups`' reductions, in tables of that shape.

    Raises:
        CulnigError: as `compare_groups`.

    Example:
        `original` and `masked` are frames of `evaluate`.

        >>> low, high = group_intervals(original, {"Iran": masked}, resamples=100)
        >>> bool((low <= high).all(axis=None))
        True
    """
    original, masked = _same_groups(original, masked)
    drawn = _drawn_reductions(original, masked, metric, unit=unit, resamples=resamples, seed=seed)
    low, high = (
        pd.DataFrame({group: one.quantile(share) for group, one in drawn.items()}).T.rename_axis(
            index="neurons", columns="question"
        )
        for share in ENDS
    )
    return low, high


def own_ranks(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    *,
    related: Mapping[str, Sequence[str]] = RELATED,
    metric: str = "correct",
    unit: Unit = "questions",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """The counterpart of Table 15's diagonal: does a group's own set hit that group first?

    Questions are resampled within each group.

    Returns:
        One row a set: items and questions (the own group's), reduction (its own, as in
        `compare_groups`), others (the mean of the other groups' reductions), difference
        (reduction minus others) with its 95% interval (difference_low, difference_high), p (the
        share of resamples in which it is not above 0), p_holm (over the sets), significant (p_holm
        below 0.05, 30 own questions or more); rank (of the own group; 1 is hit hardest),
        rank_low and rank_high (95% interval), and related_rank (the mean rank of the related
        groups that are there, or NaN). Some groups' questions tip over more easily than
        others', whatever is masked: corrected is the own reduction beyond what a set as strong
        takes from questions as easy, R[c, c] - mean R[c, .] mean R[., c] / mean R over all sets
        and groups, with its interval (corrected_low, corrected_high), p_corrected, as p_holm,
        and corrected_rank, the own group's rank in the row of such values. NaN for one set or
        group alone, and where all sets together take nothing; the interval and p also where they
        take nothing in more than 1% of the resamples (in fewer, those count against the set).

    Raises:
        CulnigError: as `compare_groups`.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> ranks = own_ranks(original, {"Iran": masked}, resamples=100)
        >>> int(ranks.loc["Iran", "items"])
        2
    """
    from scipy import stats

    original, masked = _same_groups(original, masked)
    resampled = _drawn_reductions(
        original, masked, metric, unit=unit, resamples=resamples, seed=seed
    )
    asked = pd.Series(question_numbers(original), original.index)
    asked = asked.groupby(original["group"]).nunique()
    reductions = compare_groups(original, masked, metric=metric)
    left = _corrected(reductions.to_numpy()[None])[0]
    left_drawn = _corrected(np.stack([one.to_numpy() for one in resampled.values()], axis=1))
    items, names = original["group"].value_counts(), list(reductions.columns)
    rows = []
    for number, group in enumerate(masked):
        means = reductions.loc[group]
        if group not in names:
            raise CulnigError(
                f"no question is about {group!r}, whose neurons were masked: the questions are "
                f"about {', '.join(names)}"
            )
        drawn = resampled[group]
        ranks = stats.rankdata(-drawn.to_numpy(), axis=1)[:, names.index(group)]
        rank = means.rank(ascending=False)
        near = [name for name in related.get(group, ()) if name in names]
        others = means.drop(group).mean()
        beyond = drawn[group] - drawn.drop(columns=group).mean(axis=1)
        beyond = beyond.to_numpy(dtype=float)
        alone = len(names) == 1  # nothing to hold it against
        low, high = (np.nan, np.nan) if alone else interval(beyond)
        rank_low, rank_high = interval(ranks)
        own = names.index(group)
        beyond_both = left_drawn[:, number, own]
        some = bool(np.isfinite(left[number, own]))
        known = some and np.isfinite(beyond_both).mean() >= KNOWN
        beyond_both = np.where(np.isfinite(beyond_both), beyond_both, -np.inf)
        left_low, left_high = interval(beyond_both) if known else (np.nan, np.nan)
        rows.append(
            {
                "neurons": group,
                "items": items[group],
                "questions": asked[group],
                "reduction": means[group],
                "others": others,
                "difference": means[group] - others,
                "difference_low": low,
                "difference_high": high,
                "p": np.nan if alone else p_value(beyond <= TIE),
                "rank": rank[group],
                "rank_low": rank_low,
                "rank_high": rank_high,
                "related_rank": rank[near].mean() if near else np.nan,
                "corrected": left[number, own],
                "corrected_low": left_low,
                "corrected_high": left_high,
                "p_corrected": p_value(beyond_both <= TIE) if known else np.nan,
                "corrected_rank": stats.rankdata(-left[number])[own] if some else np.nan,
            }
        )
    table = pd.DataFrame(rows).set_index("neurons")
    p_holm, significant = verdicts(table["p"].to_numpy(), table["questions"].to_numpy())
    table.insert(table.columns.get_loc("p") + 1, "p_holm", p_holm)
    table.insert(table.columns.get_loc("p_holm") + 1, "significant", significant)
    if table["corrected"].notna().all():
        table["p_corrected"] = holm(table["p_corrected"].to_numpy())
    return table


def _corrected(reductions: np.ndarray) -> np.ndarray:
    """Reductions, [resample, set, group], beyond those of the set times those of the group
    over those of all; NaN where the mean of all is not above 0, and of one set or group."""
    every = reductions.mean(axis=(1, 2), keepdims=True)
    each = reductions.mean(axis=2, keepdims=True) * reductions.mean(axis=1, keepdims=True)
    some = (every > TIE) & (min(reductions.shape[1:]) > 1)
    return reductions - np.divide(each, every, out=np.full_like(reductions, np.nan), where=some)


def _drawn_reductions(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    metric: str,
    *,
    unit: Unit,
    resamples: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """For each set, mean reductions, [resample, group], each group's questions drawn anew."""
    rng = np.random.default_rng(seed)
    questions = question_numbers(original, unit)
    before = metric_values(original, metric)
    reductions = np.stack([before - metric_values(one, metric) for one in masked.values()], axis=1)
    drawn = {}
    for group, part in original.groupby("group", sort=True):
        if group != IN_FRAMES:
            here = part.index.to_numpy()
            drawn[group] = resampled_means(
                reductions[here], questions[here], resamples=resamples, rng=rng
            )
    return {
        name: pd.DataFrame({group: means[:, number] for group, means in drawn.items()})
        for number, name in enumerate(masked)
    }


def _reductions(original: pd.DataFrame, masked: pd.DataFrame, metric: str) -> Any:
    """The reduction of each instance, grouped by its group."""
    reduction = pd.Series(
        metric_values(original, metric) - metric_values(masked, metric), original.index
    )
    return reduction[original["group"] != IN_FRAMES].groupby(original["group"])


def _same_groups(
    original: pd.DataFrame, masked: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """`same_instances` of these, some of which have a group."""
    if not masked:
        raise CulnigError("no masked evaluation to compare with: give one or more")
    named = {f"the evaluation of {name!r}": frame for name, frame in masked.items()}
    original, *frames = same_instances({"the original evaluation": original, **named})
    check_columns(original, ["group"], "these evaluations")
    if (original["group"] == IN_FRAMES).all():
        raise CulnigError("no instance has a group: evaluate a cultural task")
    return original, dict(zip(masked, frames, strict=True))
