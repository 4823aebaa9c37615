"""Additivity: whether a set's effect is the sum of its neurons', and what it means if it is not."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import numpy as np
import pandas as pd

from culnig_tl.analysis.agreement import FEWEST
from culnig_tl.frames import check_columns, numbers
from culnig_tl.resampling import RESAMPLES, interval, resampled_means, topics

# A set that takes so much of what masking everything takes has reached the floor.
FLOOR = 0.9


def additivity(interactions: pd.DataFrame, *, resamples: int = RESAMPLES) -> pd.DataFrame:
    """What a set takes from log P all at once, beside the sum of what its neurons take one by one.

    The ratio joint / singles is that of the means over questions, with a 95% bootstrap interval
    over questions. The reading:

    - `additive`: the interval holds 1.
    - `backups`: above 1. Either of two neurons is enough (y = max(a, b), OR), so that one alone
      costs nothing, and both together all.
    - `floor`: below 1, and the set takes `FLOOR` of what masking every neuron takes: there is
      no more to take.
    - `in series`: below 1, and far from the floor. Each neuron is needed (y = a b, AND), so that
      the first one to go takes what the second would have taken; or what comes later saturates.
    - `nothing to add`: the interval of the sum of the single effects holds 0, so that there is no
      ratio; or there are fewer than 3 questions.

    Args:
        interactions: rows of `interaction`, of one set or several.
        resamples: of the bootstrap.

    Returns:
        By set: instances, questions, singles, joint, floor (mean nats), ratio, ratio_low,
        ratio_high and reading.

    Raises:
        CulnigError: a column that is not there, or a number that is none.

    Example:
        `sums` is what `interaction` found of a set on three instances.

        >>> list(additivity(sums).columns)[-4:]
        ['ratio', 'ratio_low', 'ratio_high', 'reading']
    """
    columns = ("set", "instance", "question", "singles_nats", "joint_nats", "floor_nats")
    check_columns(interactions, columns, "these interactions")
    for column in columns[3:]:
        numbers(interactions, column, "these interactions", key=["set", "instance"])
    rows = {}
    for name, part in interactions.groupby("set", sort=False):
        singles, joint, floor = (part[column].to_numpy(dtype=float) for column in columns[3:])
        asked = pd.factorize(topics(part))[0]
        rng = np.random.default_rng(0)
        drawn = resampled_means(
            np.stack([singles, joint], axis=1), asked, resamples=resamples, rng=rng
        )
        least, most = interval(drawn[:, 0])
        enough = len(np.unique(asked)) >= FEWEST and least * most > 0
        row = {
            "instances": len(part),
            "questions": len(np.unique(asked)),
            "singles": singles.mean(),
            "joint": joint.mean(),
            "floor": floor.mean(),
            "ratio": np.nan,
            "ratio_low": np.nan,
            "ratio_high": np.nan,
            "reading": "nothing to add",
        }
        if enough:
            low, high = interval(drawn[:, 1] / drawn[:, 0])
            row |= {"ratio": joint.mean() / singles.mean(), "ratio_low": low, "ratio_high": high}
            row["reading"] = _reading(low, high, joint.mean() / floor.mean())
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("set")


def _reading(low: float, high: float, of_floor: float) -> str:
    if low > 1:
        return "backups"
    if high >= 1:
        return "additive"
    return "floor" if of_floor >= FLOOR else "in series"
