"""Frames in CSV files: the schema of their columns, written without loss and read by it."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from culnig_tl.checks import shown
from culnig_tl.earlier import COLUMNS
from culnig_tl.errors import CulnigError
from culnig_tl.files import write_atomically
from culnig_tl.no_group import IN_FRAMES
from culnig_tl.schemas import AGAIN, damaged


@dataclass(frozen=True)
class Kind:
    """What a cell of a column holds: how it is read (ValueError where it is not), and its words."""

    expected: str
    read: Callable[[str], Any]
    dtype: Any = None


def _number(text: str, *, least: float | int = -math.inf, most: float | int = math.inf) -> float:
    value = float(text)
    if "_" in text or not (math.isfinite(value) and least <= value <= most):
        raise ValueError
    return value


def _whole(text: str, *, least: float | int = 0) -> int:
    value = int(text)
    if "_" in text or value < least or abs(value) >= 2**63:
        raise ValueError
    return value


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def _flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


def _credit(text: str) -> bool | float:
    return text == "True" if text in ("True", "False") else _number(text, least=0, most=1)


TEXT = Kind("a text", str)
NAME = Kind("a text that is not empty", _name)
COUNT = Kind("a whole number, 0 or more", _whole, np.int64)
PLACE = Kind("a whole number", lambda text: _whole(text, least=-math.inf), np.int64)
NUMBER = Kind("a number", _number, np.float64)
MAYBE_NUMBER = Kind("a number or nothing", lambda text: float(text) if text else math.nan, float)
# A product of softmaxes may be above 1 by rounding.
SHARE = Kind("a number from 0 to 1", lambda text: _number(text, least=0, most=1 + 1e-4), np.float64)
PERCENT = Kind(
    "a number from 0 to 100", lambda text: _number(text, least=0, most=100 + 1e-2), np.float64
)
FLAG = Kind("True or False", _flag, bool)
CREDIT = Kind("True or False, or a number from 0 to 1 in every row", _credit)


def one_of(choices: Sequence[str]) -> Kind:
    """A cell that holds one of these texts."""
    return Kind(f"one of {', '.join(choices)}", lambda text: choices[choices.index(text)])


@dataclass(frozen=True)
class Frame:
    """The columns of a CSV file, with a row or more.

    Attributes:
        columns: that must be there, by name.
        key: columns that together are different in every row.
        optional: further columns that may be there, as of files of earlier versions.
        rest: what all other columns hold; None allows them as they are.
        index: columns that become the frame's index.
    """

    columns: Mapping[str, Kind]
    key: tuple[str, ...] = ()
    optional: Mapping[str, Kind] = field(default_factory=dict)
    rest: Kind | None = None
    index: tuple[str, ...] = ()


def read_frame(path: str | Path, frame: Frame, *, remedy: str = AGAIN) -> pd.DataFrame:
    """Read a CSV file by its schema.

    Raises:
        CulnigError: it cannot be read, or holds something else: the row (1 is the first below the
            header) and column, what is there, and what should be.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except FileNotFoundError as error:
        raise CulnigError(f"no file {path}: check the path") from error
    except OSError as error:
        raise CulnigError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (ValueError, csv.Error) as error:
        raise damaged(path, f"no CSV in UTF-8 ({error})", remedy=remedy) from error
    known = {**frame.columns, **frame.optional}
    header = [
        COLUMNS[name] if COLUMNS.get(name) in known and COLUMNS[name] not in header else name
        for name in header
    ]
    missing = [name for name in frame.columns if name not in header]
    if missing:
        has = shown(", ".join(header))
        raise damaged(path, f"no column {missing[0]!r}, its first line is {has}", remedy=remedy)
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise damaged(path, f"two columns {shown(twice[0])}", remedy=remedy)
    if not rows:
        raise damaged(path, "no rows", remedy=remedy)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise damaged(
                path, f"row {number} has {len(row)} cells, expected {len(header)}", remedy=remedy
            )
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    read = {}
    for name, cells in columns.items():
        kind = known.get(name, frame.rest) or TEXT
        read[name] = _column(path, name, cells, kind=kind, remedy=remedy)
    table = pd.DataFrame(read)
    if frame.key:
        again = table.duplicated(list(frame.key)).to_numpy()
        if again.any():
            number = int(again.argmax())
            found = ", ".join(f"{name} {shown(columns[name][number])}" for name in frame.key)
            raise damaged(path, f"row {number + 1} has {found} for the second time", remedy=remedy)
    return table.set_index(list(frame.index)) if frame.index else table


def _column(path: str | Path, name: str, cells: Sequence[str], *, kind: Kind, remedy: str) -> Any:
    values = []
    for number, cell in enumerate(cells, start=1):
        try:
            values.append(kind.read(cell))
            right = kind.dtype is not None or type(values[-1]) is type(values[0])
        except (ValueError, KeyError):
            right = False
        if not right:
            raise damaged(
                path,
                f"row {number}, column {shown(name)} has {shown(cell)}, expected {kind.expected}",
                remedy=remedy,
            )
    return values if kind.dtype is None else np.array(values, dtype=kind.dtype)


KEY = ("task", "id")  # what an instance is known by


def write_frame(frame: pd.DataFrame, path: str | Path, *, index: bool = False) -> None:
    """Save as CSV, atomically; `schemas.read_frame` gives back the same values and types."""
    columns = (frame.reset_index() if index else frame).select_dtypes(exclude=["number", "bool"])
    # Python's csv does not quote a carriage return by itself, and takes it for a line's end.
    returns = any("\r" in str(value) for name in columns for value in columns[name])
    quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    write_atomically(Path(path), lambda name: frame.to_csv(name, index=index, quoting=quoting))


def numbers(frame: pd.DataFrame, column: str, what: str, *, key: Sequence[str] = KEY) -> np.ndarray:
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
        row = tidied(frame).iloc[bad[0]]
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


def tidied(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows from 0, what the index named as columns, and no group spelled as frames have it."""
    named = {n: frame.index.get_level_values(n) for n in frame.index.names if n is not None}
    tidy = frame.assign(**{n: values for n, values in named.items() if n not in frame})
    tidy = tidy.reset_index(drop=True)
    if "group" in tidy and tidy["group"].isna().any():
        tidy["group"] = tidy["group"].astype(object).where(tidy["group"].notna(), IN_FRAMES)
    return tidy
