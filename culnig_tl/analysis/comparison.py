"""Comparison: the table of what masking does, with the paper's bootstrap significance."""

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
from culnig_tl.no_country import IN_FRAMES

SIGNIFICANT = 0.05
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


def compare(
    original: pd.DataFrame,
    masked: pd.DataFrame,
    random: Sequence[pd.DataFrame],
    *,
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
        standard deviation over the sets), all in percent of `metric` (a column of `evaluate`; or
        `nats`: the mean of ln P(y|x)); p_mean, p_one; significant: both are below 0.05.

    Raises:
        CulnigError: no random set, frames over different instances, or a metric that is no number.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> table = compare(original, masked, random, resamples=100)
        >>> int(table.loc["tiny", "items"])
        8
    """
    original, masked, *random = _same(original, masked, random)
    rng = np.random.default_rng(seed)
    rows = []
    for task, part in original.groupby("task", sort=False):
        here = part.index
        before, after, *controls = (
            metric_values(frame.loc[here], metric) for frame in (original, masked, *random)
        )
        controls = np.stack(controls)
        p_mean, p_one = _p_values(before, after, controls, resamples=resamples, rng=rng)
        rows.append(
            {
                "task": task,
                "items": len(part),
                "original": before.mean(),
                "masked": after.mean(),
                "random": controls.mean(),
                "random_sd": controls.mean(axis=1).std(),
                "p_mean": p_mean,
                "p_one": p_one,
                "significant": p_mean < SIGNIFICANT and p_one < SIGNIFICANT,
            }
        )
    return pd.DataFrame(rows).set_index("task")


def by_country(
    original: pd.DataFrame, masked: pd.DataFrame, random: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """Accuracy in percent per task and country: items, original, masked, random mean.

    Raises:
        CulnigError: as `compare`.
    """
    original, masked, *random = _same(original, masked, random)
    check_columns(original, ["country"], "these evaluations")
    table = original[["task", "country"]].assign(
        original=metric_values(original, "correct"),
        masked=metric_values(masked, "correct"),
        random=np.mean([metric_values(frame, "correct") for frame in random], axis=0),
    )
    grouped = table[table["country"] != IN_FRAMES].groupby(["task", "country"], sort=False)
    means = grouped[["original", "masked", "random"]].mean()
    return pd.concat([grouped.size().rename("items"), means], axis=1)


def compare_countries(
    original: pd.DataFrame, masked: Mapping[str, pd.DataFrame], *, metric: str = "correct"
) -> pd.DataFrame:
    """How far each country's questions fall when another's neurons are masked.

    Args:
        original: `evaluate` with nothing masked.
        masked: by country, `evaluate` over the same instances with its neurons masked.

    Returns:
        Neurons' country (rows) x question's country (columns): the reduction of `metric`, in
        percent points (`nats`: of ln P(y|x)).

    Raises:
        CulnigError: no masked evaluation, frames over different instances, or no countries.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> compare_countries(original, {"Iran": masked}).shape  # neurons x questions
        (1, 4)
    """
    original, masked = _same_countries(original, masked)
    return pd.DataFrame(
        {country: _reductions(original, frame, metric).mean() for country, frame in masked.items()}
    ).T.rename_axis(index="neurons", columns="question")


def rank_countries(reductions: pd.DataFrame) -> pd.DataFrame:
    """Ranks of `compare_countries` within each row: 1 is hit hardest; ties share a mean rank.

    Raises:
        CulnigError: a reduction that is no number.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> reductions = compare_countries(original, {"Iran": masked}, metric="nats")
        >>> sorted(rank_countries(reductions).loc["Iran"])
        [1.0, 2.0, 3.0, 4.0]
    """
    for country in reductions:
        numbers(reductions, country, "the reductions", key=reductions.index.names)
    return reductions.rank(axis=1, ascending=False)


def own_ranks(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    *,
    related: Mapping[str, Sequence[str]] = RELATED,
    metric: str = "correct",
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The counterpart of Table 15's diagonal: does a country's own set hit that country first?

    Returns:
        One row a set: items (the own country's), reduction (its own, as in `compare_countries`),
        others (the mean of the other countries' reductions), rank (of the own country; 1 is hit
        hardest), rank_low and rank_high (95% percentile bootstrap over instances, within each
        country), and related_rank (the mean rank of the related countries that are there, or NaN).

    Raises:
        CulnigError: as `compare_countries`.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> ranks = own_ranks(original, {"Iran": masked}, resamples=100)
        >>> int(ranks.loc["Iran", "items"])
        2
    """
    from scipy import stats

    original, masked = _same_countries(original, masked)
    rng = np.random.default_rng(seed)
    rows = []
    for country, frame in masked.items():
        groups = _reductions(original, frame, metric)
        names = list(groups.groups)
        if country not in names:
            raise CulnigError(
                f"no question is about {country!r}, whose neurons were masked: the questions are "
                f"about {', '.join(names)}"
            )
        values = [groups.get_group(name).to_numpy() for name in names]
        means = pd.Series([value.mean() for value in values], names)
        # [resample, country]: each country's instances drawn anew.
        drawn = np.stack([rng.choice(v, (resamples, len(v))).mean(axis=1) for v in values], axis=1)
        ranks = stats.rankdata(-drawn, axis=1)[:, names.index(country)]
        rank = means.rank(ascending=False)
        near = [name for name in related.get(country, ()) if name in names]
        rows.append(
            {
                "neurons": country,
                "items": len(groups.get_group(country)),
                "reduction": means[country],
                "others": means.drop(country).mean(),
                "rank": rank[country],
                "rank_low": np.quantile(ranks, 0.025),
                "rank_high": np.quantile(ranks, 0.975),
                "related_rank": rank[near].mean() if near else np.nan,
            }
        )
    return pd.DataFrame(rows).set_index("neurons")


def _reductions(original: pd.DataFrame, masked: pd.DataFrame, metric: str) -> Any:
    """The reduction of each instance, grouped by its country."""
    reduction = pd.Series(
        metric_values(original, metric) - metric_values(masked, metric), original.index
    )
    return reduction[original["country"] != IN_FRAMES].groupby(original["country"])


def _same(
    original: pd.DataFrame, masked: pd.DataFrame, random: Sequence[pd.DataFrame]
) -> list[pd.DataFrame]:
    """`same_instances` of these."""
    if not len(random):
        raise CulnigError("no random evaluation to compare with: give one or more")
    named = {"the original evaluation": original, "the masked evaluation": masked}
    named |= {f"random evaluation {number}": frame for number, frame in enumerate(random, start=1)}
    return same_instances(named)


def _same_countries(
    original: pd.DataFrame, masked: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """`same_instances` of these, some of which have a country."""
    if not masked:
        raise CulnigError("no masked evaluation to compare with: give one or more")
    named = {f"the evaluation of {name!r}": frame for name, frame in masked.items()}
    original, *frames = same_instances({"the original evaluation": original, **named})
    check_columns(original, ["country"], "these evaluations")
    if (original["country"] == IN_FRAMES).all():
        raise CulnigError("no instance has a country: evaluate a cultural task")
    return original, dict(zip(masked, frames, strict=True))


def _p_values(
    before: np.ndarray,
    after: np.ndarray,
    controls: np.ndarray,
    *,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Both p-values; the arrays are [item], [item] and [random set, item]."""
    counts = rng.multinomial(len(before), np.full(len(before), 1 / len(before)), size=resamples)
    masked_reduction = counts @ (before - after)
    random_reductions = counts @ (before - controls).T
    drawn = random_reductions[np.arange(resamples), rng.integers(len(controls), size=resamples)]
    # A tie is a tie, but for rounding: of the mean, and of credits that are no whole numbers.
    at_least = masked_reduction - 1e-7
    p_mean = float((random_reductions.mean(axis=1) >= at_least).mean())
    return p_mean, float((drawn >= at_least).mean())
