# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# (pandas types most results as unions of everything it can return)
"""Frames: written without loss, of numbers, and of the same instances. Needs no model."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from culnig_tl.checks import shown
from culnig_tl.errors import CulnigError
from culnig_tl.files import write_atomically

KEY = ("task", "id")  # what an instance is known by


def write_frame(frame: pd.DataFrame, path: str | Path, index: bool = False) -> None:
    """Save as CSV, atomically; `schemas.read_frame` gives back the same values and types."""
    columns = (frame.reset_index() if index else frame).select_dtypes(exclude=["number", "bool"])
    # Python's csv does not quote a carriage return by itself, and takes it for a line's end.
    returns = any("\r" in str(value) for name in columns for value in columns[name])
    quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    write_atomically(Path(path), lambda name: frame.to_csv(name, index=index, quoting=quoting))


def numbers(frame: pd.DataFrame, column: str, what: str, key: Sequence[str] = KEY) -> np.ndarray:
    """A column of a frame as numbers.

    Args:
        what: what the frame is, in the plural, for messages.
        key: the columns that name a row.

    Raises:
        CulnigError: no such column; a value that is no number, NaN or infinite.
    """
    check_columns(frame, [column], what)
    values = frame[column]
    found = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        row = _tidy(frame).iloc[bad[0]]
        named = " of ".join(shown(row[name]) for name in reversed(key) if name in row)
        raise CulnigError(
            f"{column} of {named or f'row {bad[0]}'} is {shown(values.iloc[bad[0]])} in {what} "
            f"({len(bad)} such): it must be a number; make it again, in dtype float32 if the model "
            "overflowed"
        )
    return found


def check_columns(frame: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Refuse a frame without these columns (or names of its index).

    Raises:
        CulnigError: one is missing; the message lists those that are there.
    """
    there = [*frame.columns, *filter(None, frame.index.names)]
    for column in columns:
        if column not in there:
            raise CulnigError(
                f"no column {column!r} in {what}: they have {', '.join(map(str, there))}"
            )


def same_instances(frames: Mapping[str, pd.DataFrame]) -> list[pd.DataFrame]:
    """The frames, when row i is the same instance, known by (task, id), in all of them.

    Their indices may differ, as where frames were joined: those that come back count from 0. No
    country is the empty string in them, also where a file had nothing there.

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
    return [_tidy(frame) for frame in frames.values()]


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
    return _tidy(frame.iloc[order])


def _instances(frame: pd.DataFrame, name: str) -> pd.MultiIndex:
    """(task, id) of each row, each once."""
    check_columns(frame, KEY, "these evaluations")
    instances = pd.MultiIndex.from_frame(_tidy(frame)[list(KEY)].astype(object))
    twice = instances[instances.duplicated()]
    if len(twice):
        raise CulnigError(f"{_named(twice[0])} is in {name} twice: keep one row an instance")
    return instances


def _named(instance: tuple[object, object]) -> str:
    task, one = instance
    return f"instance {one!r} of {task!r}"


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows from 0, what the index named as columns, and no country as the empty string."""
    named = {n: frame.index.get_level_values(n) for n in frame.index.names if n is not None}
    tidy = frame.assign(**{n: values for n, values in named.items() if n not in frame})
    tidy = tidy.reset_index(drop=True)
    if "country" in tidy and tidy["country"].isna().any():
        tidy["country"] = tidy["country"].astype(object).where(tidy["country"].notna(), "")
    return tidy
