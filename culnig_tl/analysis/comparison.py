"""Comparison: the tables of what masking does, by a bootstrap over questions."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Sequence

import numpy as np
import pandas as pd

from culnig_tl.analysis.evaluations import chance_of, metric_values, same_instances
from culnig_tl.errors import CulnigError
from culnig_tl.frames import check_columns
from culnig_tl.no_group import IN_FRAMES
from culnig_tl.resampling import (
    RESAMPLES,
    TIE,
    Unit,
    interval,
    mean_interval,
    p_value,
    question_numbers,
    resampled_means,
    verdicts,
)


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


def by_group(
    original: pd.DataFrame,
    masked: pd.DataFrame,
    random: Sequence[pd.DataFrame],
    *,
    unit: Unit = "questions",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy in percent per task and group.

    Returns:
        One row a task and group: items, questions, chance, original, masked, random (the mean
        over the sets), difference (masked minus random) and its 95% interval.

    Raises:
        CulnigError: as `compare`.
    """
    original, masked, *random = _same(original, masked, random)
    check_columns(original, ["group"], "these evaluations")
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
    for key, part in original.groupby(["task", "group"], sort=False):
        if key[1] == IN_FRAMES:
            continue
        here = part.index.to_numpy()
        beyond = values[here, 1] - values[here, 2]
        low, high = mean_interval(beyond, questions[here], rng=rng, resamples=resamples)
        before, after, control = values[here].mean(axis=0)
        rows.append(
            {
                "task": key[0],
                "group": key[1],
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
    table = pd.DataFrame(rows, columns=["task", "group", *columns])
    return table.set_index(["task", "group"])


def _same(
    original: pd.DataFrame, masked: pd.DataFrame, random: Sequence[pd.DataFrame]
) -> list[pd.DataFrame]:
    """`same_instances` of these."""
    if not len(random):
        raise CulnigError("no random evaluation to compare with: give one or more")
    named = {"the original evaluation": original, "the masked evaluation": masked}
    named |= {f"random evaluation {number}": frame for number, frame in enumerate(random, start=1)}
    return same_instances(named)
