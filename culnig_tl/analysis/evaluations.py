"""Evaluations: frames of one row an instance, saved, read, and held beside each other."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from culnig_tl.errors import CulnigError
from culnig_tl.frames import (
    COUNT,
    CREDIT,
    FLAG,
    KEY,
    MAYBE_NUMBER,
    NAME,
    NUMBER,
    SHARE,
    TEXT,
    Frame,
    check_columns,
    numbers,
    read_frame,
    tidied,
    write_frame,
)


def same_instances(frames: Mapping[str, pd.DataFrame]) -> list[pd.DataFrame]:
    """The frames, when row i is the same instance, known by (task, id), in all of them.

    Their indices may differ, as where frames were joined: those that come back count from 0. No
    group is spelled `no_group.IN_FRAMES` in them, also where a file had nothing there.

    Args:
        frames: of `evaluate`, by what messages call them; the others are held against the first.

    Raises:
        CulnigError: an instance is twice in a frame, missing in one, or in another row; the
            message names it and both frames.
    """
    instances = {name: _instances(frame, name) for name, frame in frames.items()}
    name, first = next(iter(instances.items()))
    for other, there in instances.items():
        for missing, here, beside in (
            (first.difference(there, sort=False), name, other),
            (there.difference(first, sort=False), other, name),
        ):
            if len(missing):
                raise CulnigError(
                    f"the evaluations are of different instances: {_named(missing[0])} is in {here}"
                    f" and not in {beside} ({len(missing)} such): evaluate the same list each time"
                )
        moved = [row for row, (one, two) in enumerate(zip(first, there, strict=True)) if one != two]
        if moved:
            raise CulnigError(
                f"the evaluations are of different instances in row {moved[0]}: "
                f"{_named(first[moved[0]])} in {name}, {_named(there[moved[0]])} in {other}: put "
                "them into one order"
            )
    return [tidied(frame) for frame in frames.values()]


def rows_of(frame: pd.DataFrame, wanted: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of `frame` for the instances of `wanted`, in their order.

    Raises:
        CulnigError: an instance is twice in a frame, or missing in `frame`; the message names it.
    """
    there, here = _instances(frame, name), _instances(wanted, "what is compared with it")
    order = there.get_indexer(here)
    if (order < 0).any():
        missing = here[int(np.flatnonzero(order < 0)[0])]
        raise CulnigError(
            f"the evaluations are of different instances: {_named(missing)} is not in {name} "
            f"({(order < 0).sum()} such): evaluate the same list each time"
        )
    return tidied(frame.iloc[order])


def _instances(frame: pd.DataFrame, name: str) -> pd.MultiIndex:
    """(task, id) of each row, each once."""
    check_columns(frame, KEY, "these evaluations")
    instances = pd.MultiIndex.from_frame(tidied(frame)[list(KEY)].astype(object))
    twice = instances[instances.duplicated()]
    if len(twice):
        raise CulnigError(f"{_named(twice[0])} is in {name} twice: keep one row an instance")
    return instances


def _named(instance: tuple[object, object]) -> str:
    task, one = instance
    return f"instance {one!r} of {task!r}"


# Where a probability is 0 in floating point.
LEAST_PROBABILITY = 1e-30


def metric_values(frame: pd.DataFrame, metric: str) -> np.ndarray:
    """The metric of each instance, in percent; `nats`: ln P(y|x).

    Raises:
        CulnigError: the frame has no such column, or a value that is no number.
    """
    if metric == "nats":
        return np.log(
            numbers(frame, "probability", "these evaluations").clip(min=LEAST_PROBABILITY)
        )
    return 100 * numbers(frame, metric, "these evaluations")


def chance_of(frame: pd.DataFrame) -> float:
    """What guesses would score on these instances, in percent.

    NaN where the frame does not say, as those of free answers and of earlier versions.
    """
    return 100 * float(frame["chance"].mean()) if "chance" in frame else np.nan


# Of `evaluate`; and of `answer_questions`.
EVALUATION = Frame(
    {
        "id": NAME,
        "task": NAME,
        "group": TEXT,
        "template": COUNT,
        "answer": TEXT,
        "predicted": TEXT,
        "correct": CREDIT,
        "correct_vocabulary": CREDIT,
        "probability": SHARE,
    },
    key=("task", "id"),
    optional={"question": NAME, "chance": SHARE},
)

# Of `compare`.
COMPARISON = Frame(
    {
        "task": NAME,
        "items": COUNT,
        "original": NUMBER,
        "masked": NUMBER,
        "random": NUMBER,
        "random_sd": MAYBE_NUMBER,
        "p_mean": SHARE,
        "p_one": SHARE,
        "significant": FLAG,
    },
    key=("task",),
    optional={
        "questions": COUNT,
        "chance": MAYBE_NUMBER,
        "difference": NUMBER,
        "difference_low": NUMBER,
        "difference_high": NUMBER,
        "p_holm": SHARE,
    },
)


def write_evaluation(frame: pd.DataFrame, path: Path) -> None:
    """Save a frame of `evaluate` as CSV, atomically."""
    write_frame(frame, path)


def read_evaluation(path: Path) -> pd.DataFrame:
    """Read what `write_evaluation` wrote.

    Raises:
        CulnigError: it is no such file: the row and column.
    """
    return read_frame(path, EVALUATION)
