# pyright: reportArgumentType=false
# (pandas types most results as unions of everything it can return)
"""Schemas: what the files of a run hold, checked whenever one of them is read.

A CSV file is read by a `Frame`: its columns, each of a `Kind`. A JSON file is read by a dictionary
of types by key; `key?` may be absent, a dictionary of `...` alone has any keys, a list of one is a
list of such. What is damaged is refused in one line: the file, the place, what it has, what it
should have, and what to do.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
import pandas as pd

from culnig_tl.checks import shown
from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json

AGAIN = "delete it and give the command that made it again"


def damaged(path: str | Path, what: str, remedy: str = AGAIN) -> CulnigError:
    """The error of a file that cannot be what it should be."""
    return CulnigError(f"{path} is damaged ({what}): {remedy}")


@dataclass(frozen=True)
class Kind:
    """What a cell of a column holds: how it is read (ValueError where it is not), and its words."""

    expected: str
    read: Callable[[str], Any]
    dtype: Any = None


def _number(text: str, least: float | int = -math.inf, most: float | int = math.inf) -> float:
    value = float(text)
    if "_" in text or not (math.isfinite(value) and least <= value <= most):
        raise ValueError
    return value


def _whole(text: str, least: float | int = 0) -> int:
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
    return text == "True" if text in ("True", "False") else _number(text, 0, 1)


TEXT = Kind("a text", str)
NAME = Kind("a text that is not empty", _name)
COUNT = Kind("a whole number, 0 or more", _whole, np.int64)
PLACE = Kind("a whole number", lambda text: _whole(text, -math.inf), np.int64)
NUMBER = Kind("a number", _number, np.float64)
MAYBE_NUMBER = Kind("a number or nothing", lambda text: float(text) if text else math.nan, float)
# A product of softmaxes may be above 1 by rounding.
SHARE = Kind("a number from 0 to 1", lambda text: _number(text, 0, 1 + 1e-4), np.float64)
PERCENT = Kind("a number from 0 to 100", lambda text: _number(text, 0, 100 + 1e-2), np.float64)
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
        rest: what further columns hold; None allows them as they are.
        index: columns that become the frame's index.
    """

    columns: Mapping[str, Kind]
    key: tuple[str, ...] = ()
    rest: Kind | None = None
    index: tuple[str, ...] = ()


def read_frame(path: str | Path, frame: Frame, remedy: str = AGAIN) -> pd.DataFrame:
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
        raise damaged(path, f"no CSV in UTF-8 ({error})", remedy) from error
    missing = [name for name in frame.columns if name not in header]
    if missing:
        has = shown(", ".join(header))
        raise damaged(path, f"no column {missing[0]!r}, its first line is {has}", remedy)
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise damaged(path, f"two columns {shown(twice[0])}", remedy)
    if not rows:
        raise damaged(path, "no rows", remedy)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise damaged(
                path, f"row {number} has {len(row)} cells, expected {len(header)}", remedy
            )
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    read = {}
    for name, cells in columns.items():
        kind = frame.columns.get(name, frame.rest) or TEXT
        read[name] = _column(path, name, cells, kind, remedy)
    table = pd.DataFrame(read)
    if frame.key:
        again = table.duplicated(list(frame.key)).to_numpy()
        if again.any():
            number = int(again.argmax())
            found = ", ".join(f"{name} {shown(columns[name][number])}" for name in frame.key)
            raise damaged(path, f"row {number + 1} has {found} for the second time", remedy)
    return table.set_index(list(frame.index)) if frame.index else table


def _column(path: str | Path, name: str, cells: Sequence[str], kind: Kind, remedy: str) -> Any:
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
                remedy,
            )
    return values if kind.dtype is None else np.array(values, dtype=kind.dtype)


_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def read_object(path: str | Path, schema: Mapping[Any, Any], remedy: str = AGAIN) -> dict[str, Any]:
    """Read a JSON file that holds an object of this schema.

    Raises:
        CulnigError: no such file, not JSON, or a key or value that is missing or another.
    """
    content = read_json(path)
    check_object(path, content, schema, remedy)
    return content


def check_object(path: str | Path, content: Any, schema: Any, remedy: str = AGAIN) -> None:
    """Refuse content of a JSON file that is not of the schema.

    Raises:
        CulnigError: the key, what it has, and what it should have.
    """
    _check(path, content, schema, "", remedy)


def _check(path: str | Path, content: Any, schema: Any, where: str, remedy: str) -> None:
    what = f"{shown(where)} is" if where else "it is"
    if isinstance(schema, Mapping):
        if not isinstance(content, dict):
            raise damaged(path, f"{what} {shown(content)}, expected an object", remedy)
        for key, part in schema.items():
            if isinstance(key, EllipsisType):
                for name, value in content.items():
                    _check(path, value, part, f"{where}.{name}".strip("."), remedy)
                continue
            name = f"{where}.{key.rstrip('?')}".strip(".")
            if key.rstrip("?") in content:
                _check(path, content[key.rstrip("?")], part, name, remedy)
            elif not key.endswith("?"):
                raise damaged(path, f"{name!r} is missing", remedy)
    elif isinstance(schema, list):
        if not isinstance(content, list):
            raise damaged(path, f"{what} {shown(content)}, expected a list", remedy)
        for number, value in enumerate(content):
            _check(path, value, schema[0], f"{where}[{number}]", remedy)
    else:
        kinds = schema if isinstance(schema, tuple) else (schema,)
        # A whole number is a number; true and false are none.
        right = (int, float) if float in kinds else ()
        fits = isinstance(content, (*kinds, *right)) and (
            bool in kinds or not isinstance(content, bool)
        )
        if not fits or (isinstance(content, float) and not math.isfinite(content)):
            words = " or ".join(_WORDS[kind] for kind in kinds)
            raise damaged(path, f"{what} {shown(content)}, expected {words}", remedy)
