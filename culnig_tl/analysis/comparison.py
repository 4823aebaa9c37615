"""Comparison: the tables of what masking does, by a bootstrap over questions."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from culnig_tl.analysis.evaluations import chance_of, metric_values, same_instances
from culnig_tl.errors import CulnigError
from culnig_tl.frames import check_columns, numbers
from culnig_tl.no_country import IN_FRAMES
from culnig_tl.resampling import (
    ENDS,
    RESAMPLES,
    Unit,
    interval,
    mean_interval,
    p_value,
    question_numbers,
    resampled_means,
    verdicts,
)

TIE = 1e-7
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
    unit: Unit = "questions",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """The counterpart of Table 2, from frames of `evaluate` over the same instances.

    Questions are resampled, with all their templates and instances, and of each resample the
    reduction under random neurons is held against that under the masked ones (section 4.3):
    `p_mean` with the mean over the random sets, `p_one` with one set drawn uniformly per resample.
    p is (k + 1) / (n + 1), where in k of n resamples the random reduction is at least as large.

    Args:
        metric: a column of `evaluate`; or `nats`: the mean of ln P(y|x).
        unit: what is resampled; the paper's are `instances`.

    Returns:
        One row a task: items, questions, chance (of `correct`, else NaN), original, masked, random
        (their mean), random_sd (population standard deviation over the sets; NaN for one), all in
        percent; difference (masked minus random) and difference_low, difference_high, its 95%
        percentile interval; p_mean, p_one; p_holm: Holm's correction of the larger of both over
        the table's rows; significant: p_holm is below 0.05, on 30 questions or more.

    Raises:
        CulnigError: no random set, frames over different instances, or a metric that is no number.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> table = compare(original, masked, random, resamples=100)
        >>> int(table.loc["tiny", "items"]), int(table.loc["tiny", "questions"])
        (8, 8)
    """
    original, masked, *random = _same(original, masked, random)
    rng = np.random.default_rng(seed)
    questions = pd.Series(question_numbers(original, unit), original.index)
    asked = pd.Series(question_numbers(original), original.index)
    rows = []
    for task, part in original.groupby("task", sort=False):
        here = part.index
        values = np.stack(
            [metric_values(frame.loc[here], metric) for frame in (original, masked, *random)],
            axis=1,
        )
        before, after, *controls = values.mean(axis=0)
        drawn = resampled_means(
            values[:, 1:], questions[here].to_numpy(), resamples=resamples, rng=rng
        )
        beyond = drawn[:, 1:] - drawn[:, :1]  # what masking takes more than each random set
        one = beyond[np.arange(resamples), rng.integers(len(random), size=resamples)]
        low, high = interval(-beyond.mean(axis=1))
        rows.append(
            {
                "task": task,
                "items": len(part),
                "questions": asked[here].nunique(),
                "chance": chance_of(part) if metric == "correct" else np.nan,
                "original": before,
                "masked": after,
                "random": np.mean(controls),
                "random_sd": np.std(controls) if len(controls) > 1 else np.nan,
                "difference": after - np.mean(controls),
                "difference_low": low,
                "difference_high": high,
                # A tie is a tie, but for rounding: of the mean, and of credits.
                "p_mean": p_value(beyond.mean(axis=1) <= TIE),
                "p_one": p_value(one <= TIE),
            }
        )
    return corrected(pd.DataFrame(rows).set_index("task"))


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """`compare`'s table, or several together, with `p_holm` and `significant` over all rows.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> table = compare(original, masked, random, resamples=100)
        >>> both = corrected(pd.concat([table, table]))
        >>> bool((both["p_holm"] >= both["p_mean"]).all())
        True
    """
    p = table[["p_mean", "p_one"]].max(axis=1).to_numpy()
    p_holm, significant = verdicts(p, table["questions"].to_numpy())
    return table.assign(p_holm=p_holm, significant=significant)


def by_country(
    original: pd.DataFrame,
    masked: pd.DataFrame,
    random: Sequence[pd.DataFrame],
    *,
    unit: Unit = "questions",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy in percent per task and country.

    Returns:
        One row a task and country: items, questions, chance, original, masked, random (the mean
        over the sets), difference (masked minus random) and its 95% interval.

    Raises:
        CulnigError: as `compare`.
    """
    original, masked, *random = _same(original, masked, random)
    check_columns(original, ["country"], "these evaluations")
    rng = np.random.default_rng(seed)
    questions, asked = question_numbers(original, unit), question_numbers(original)
    values = np.stack(
        [
            metric_values(original, "correct"),
            metric_values(masked, "correct"),
            np.mean([metric_values(frame, "correct") for frame in random], axis=0),
        ],
        axis=1,
    )
    rows = []
    for key, part in original.groupby(["task", "country"], sort=False):
        if key[1] == IN_FRAMES:
            continue
        here = part.index.to_numpy()
        beyond = values[here, 1] - values[here, 2]
        low, high = mean_interval(beyond, questions[here], rng=rng, resamples=resamples)
        before, after, control = values[here].mean(axis=0)
        rows.append(
            {
                "task": key[0],
                "country": key[1],
                "items": len(part),
                "questions": len(np.unique(asked[here])),
                "chance": chance_of(part),
                "original": before,
                "masked": after,
                "random": control,
                "difference": after - control,
                "difference_low": low,
                "difference_high": high,
            }
        )
    columns = ["items", "questions", "chance", "original", "masked", "random"]
    columns += ["difference", "difference_low", "difference_high"]
    table = pd.DataFrame(rows, columns=["task", "country", *columns])
    return table.set_index(["task", "country"])


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


def country_intervals(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    *,
    metric: str = "correct",
    unit: Unit = "questions",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The ends of the 95% intervals of `compare_countries`' reductions, in tables of that shape.

    Raises:
        CulnigError: as `compare_countries`.

    Example:
        `original` and `masked` are frames of `evaluate`.

        >>> low, high = country_intervals(original, {"Iran": masked}, resamples=100)
        >>> bool((low <= high).all(axis=None))
        True
    """
    original, masked = _same_countries(original, masked)
    drawn = _drawn_reductions(original, masked, metric, unit=unit, resamples=resamples, seed=seed)
    low, high = (
        pd.DataFrame(
            {country: one.quantile(share) for country, one in drawn.items()}
        ).T.rename_axis(index="neurons", columns="question")
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
    """The counterpart of Table 15's diagonal: does a country's own set hit that country first?

    Questions are resampled within each country.

    Returns:
        One row a set: items and questions (the own country's), reduction (its own, as in
        `compare_countries`), others (the mean of the other countries' reductions), difference
        (reduction minus others) with its 95% interval (difference_low, difference_high), p (the
        share of resamples in which it is not above 0), p_holm (over the sets), significant (p_holm
        below 0.05, 30 own questions or more); rank (of the own country; 1 is hit hardest),
        rank_low and rank_high (95% interval), and related_rank (the mean rank of the related
        countries that are there, or NaN).

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
    resampled = _drawn_reductions(
        original, masked, metric, unit=unit, resamples=resamples, seed=seed
    )
    asked = pd.Series(question_numbers(original), original.index)
    asked = asked.groupby(original["country"]).nunique()
    rows = []
    for country, frame in masked.items():
        groups = _reductions(original, frame, metric)
        means = groups.mean()
        names = list(means.index)
        if country not in names:
            raise CulnigError(
                f"no question is about {country!r}, whose neurons were masked: the questions are "
                f"about {', '.join(names)}"
            )
        drawn = resampled[country]
        ranks = stats.rankdata(-drawn.to_numpy(), axis=1)[:, names.index(country)]
        rank = means.rank(ascending=False)
        near = [name for name in related.get(country, ()) if name in names]
        others = means.drop(country).mean()
        beyond = drawn[country] - drawn.drop(columns=country).mean(axis=1)
        beyond = beyond.to_numpy(dtype=float)
        alone = len(names) == 1  # nothing to hold it against
        low, high = (np.nan, np.nan) if alone else interval(beyond)
        rank_low, rank_high = interval(ranks)
        rows.append(
            {
                "neurons": country,
                "items": groups.size()[country],
                "questions": asked[country],
                "reduction": means[country],
                "others": others,
                "difference": means[country] - others,
                "difference_low": low,
                "difference_high": high,
                "p": np.nan if alone else p_value(beyond <= TIE),
                "rank": rank[country],
                "rank_low": rank_low,
                "rank_high": rank_high,
                "related_rank": rank[near].mean() if near else np.nan,
            }
        )
    table = pd.DataFrame(rows).set_index("neurons")
    p_holm, significant = verdicts(table["p"].to_numpy(), table["questions"].to_numpy())
    table.insert(table.columns.get_loc("p") + 1, "p_holm", p_holm)
    table.insert(table.columns.get_loc("p_holm") + 1, "significant", significant)
    return table


def _drawn_reductions(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    metric: str,
    *,
    unit: Unit,
    resamples: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """For each set, mean reductions, [resample, country], each country's questions drawn anew."""
    rng = np.random.default_rng(seed)
    questions = question_numbers(original, unit)
    before = metric_values(original, metric)
    reductions = np.stack([before - metric_values(one, metric) for one in masked.values()], axis=1)
    drawn = {}
    for country, part in original.groupby("country", sort=True):
        if country != IN_FRAMES:
            here = part.index.to_numpy()
            drawn[country] = resampled_means(
                reductions[here], questions[here], resamples=resamples, rng=rng
            )
    return {
        name: pd.DataFrame({country: means[:, number] for country, means in drawn.items()})
        for number, name in enumerate(masked)
    }


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
