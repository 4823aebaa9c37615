"""Rows of a local file (CSV, JSON, JSON lines, Parquet) or of a dataset on the Hub."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import contextlib
import datetime
import decimal
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from culnig_tl.errors import CulnigError
from culnig_tl.tasks.formats import SUFFIXES, Columns, read_columns

_SHOWN = 20  # of a table's columns, in a message
_ALSO = {"idx": "index"}  # in GLUE's own files
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


def read_rows(
    hub: tuple[str, str | None, str],
    data: Path | None,
    columns: Sequence[str],
    *,
    nested: Sequence[str] = (),
    key: str | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """The rows of the local file `data`, or of the Hub's (name, config, split).

    Each comes with its place, `file, row 3`, for messages. `columns` are text; those in `nested`
    are as they are. No two rows have the same `key`.

    Raises:
        CulnigError: as `read_table` and `read_hub`, and an empty cell or a key twice in either.
    """
    if data is not None:
        source, table = str(data), read_table(data, columns, nested=nested, key=key)
    else:
        source = hub[0]
        table = _checked_table(
            read_hub(*hub, columns=[*columns, *nested]), source, columns, key=key
        )
    rows = table.to_dict("records")
    return [(f"{source}, row {number}", row) for number, row in enumerate(rows, start=1)]


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    nested: Sequence[str] = (),
    key: str | None = None,
    others: bool = True,
) -> pd.DataFrame:
    """A local table with at least `columns`, text that is empty in no row, and `nested`, as it is.

    Names of columns may differ in case and in white space around them. Text is as `text_of` gives
    it. No two rows have the same `key`. Without `others` the table has just those columns.

    Raises:
        CulnigError: no such file, a suffix that is not known, a file that cannot be parsed, no
            rows, a missing column, an empty cell, or a key twice (the message gives the row,
            counted from 1).
    """
    path, wanted = Path(path), [*columns, *nested]
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        remedy = "; unpack it first" if kind in (".gz", ".zip", ".bz2", ".xz", ".zst") else ""
        raise CulnigError(f"cannot read {path}: its name must end in {', '.join(SUFFIXES)}{remedy}")
    if os.path.isdir(path):  # pathlib's raises where a name is too long
        raise CulnigError(f"{path} is a folder: give a file ({', '.join(SUFFIXES)})")
    if not os.path.exists(path):
        raise CulnigError(f"no file {path}: check the path given as data")
    try:
        found = _renamed(read_columns(path, wanted=None if others else wanted), wanted)
    except CulnigError:
        raise
    except Exception as error:  # each format's parser has its own exceptions
        reason = " ".join(str(error).split())
        raise CulnigError(f"cannot parse {path}: {reason}; is it a {kind[1:]} file?") from error
    table = pd.DataFrame(found, dtype=object)
    _check_columns(table, str(path), wanted)
    return _checked_table(table, str(path), columns, key=key)


def _renamed(found: Columns, wanted: Sequence[str]) -> Columns:
    """The columns, with the wanted names where a name differs in case alone."""
    absent = [name for name in wanted if name not in found]
    renamed: Columns = {}
    for name, cells in found.items():
        spelt = [x for x in absent if name.casefold() in (x.casefold(), _ALSO.get(x))]
        name = spelt[0] if spelt else name
        if name in renamed:
            raise ValueError(f"column {name!r} is there twice: keep one")
        renamed[name] = cells
    return renamed


def _check_columns(table: pd.DataFrame, source: str, wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        names, more = list(table.columns[:_SHOWN]), len(table.columns) - _SHOWN
        tail = f" and {more} more" if more > 0 else ""
        raise CulnigError(f"{source} has no column {missing[0]!r}: its columns are {names}{tail}")


def _checked_table(
    table: pd.DataFrame, source: str, columns: Sequence[str], *, key: str | None
) -> pd.DataFrame:
    if table.empty:
        raise CulnigError(f"{source} has no rows: give one or more")
    for column in columns:
        texts = []
        for number, cell in enumerate(table[column], start=1):
            text, fault = _text_and_fault(cell)
            if fault:
                raise CulnigError(f"{source}, row {number}: column {column!r} {fault}")
            texts.append(text)
        table[column] = pd.Series(texts, index=table.index, dtype=object)
    if key is not None:
        check_once(map(str.strip, table[key]), source, key)
    return table


def check_once(values: Iterable[Any], source: object, what: str) -> None:
    """Refuse a value that a row before has too.

    Raises:
        CulnigError: the message gives both rows, counted from 1.
    """
    seen: dict[Any, int] = {}
    for number, value in enumerate(values, start=1):
        if seen.setdefault(value, number) != number:
            raise CulnigError(
                f"{source}, row {number}: {what} {value!r} is that of row {seen[value]} too; keep "
                "one, or give it another"
            )


def text_of(cell: Any, what: str, where: object) -> str:
    """A cell as text. A whole number has no decimals (1990.0 is 1990), and line ends are line
    feeds, as the CSV files of a run can hold no lone carriage return.

    Raises:
        CulnigError: it is empty, no text, or holds what is no text; the message begins with
            `where` and `what`.
    """
    text, fault = _text_and_fault(cell)
    if fault:
        raise CulnigError(f"{where}: {what} {fault}")
    return text


def is_blank(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or white space."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _text_and_fault(cell: Any) -> tuple[str, str]:
    if is_blank(cell):
        return "", "is empty; fill it or drop it"
    if isinstance(cell, float):
        if not abs(cell) < 2**53:  # its digits are not those that were written
            return "", "is a number too large to be exact; write it as text"
        cell = int(cell) if cell.is_integer() else cell
    # A date, but not a moment: how that would be written is anybody's guess.
    plain = bool | int | float | decimal.Decimal | datetime.date
    if isinstance(cell, plain) and not isinstance(cell, datetime.datetime):
        cell = str(cell)
    if not isinstance(cell, str):
        return "", "is not text; mend it"
    if _NO_TEXT.search(cell):
        return "", "holds a NUL or half of a character; take it out"
    return cell.replace("\r\n", "\n").replace("\r", "\n"), ""


def read_hub(name: str, config: str | None, split: str, *, columns: Sequence[str]) -> pd.DataFrame:
    """A dataset of the Hugging Face Hub as a table.

    Raises:
        CulnigError: it cannot be reached or found, or lacks one of `columns`.
    """
    import datasets  # heavy, and not needed for local data

    with hub_errors(f"dataset {name}"):
        rows = datasets.load_dataset(name, config, split=split)
        # Not by pandas, which makes numbers with decimals of whole ones beside an empty cell.
        found = {column: rows[column][:] for column in rows.column_names}
    table = pd.DataFrame(found, dtype=object)
    _check_columns(table, f"dataset {name}", columns)
    return table


@contextlib.contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn the many errors of the Hub's client into one line with the remedy.

    Raises:
        CulnigError: instead of any of them.
    """
    try:
        yield
    except Exception as error:  # a dozen different ones
        reason = " ".join(str(error).split())[:200]
        raise CulnigError(
            f"cannot load {what} from the Hub ({type(error).__name__}: {reason}); check the "
            "network, or give a local copy with data= (--data)"
        ) from error


def checked(row: Mapping[str, Any], key: str, source: object, *, number: int) -> str:
    """`row[key]` as text.

    Raises:
        CulnigError: it is missing or empty; the message gives the row, counted from 1.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise CulnigError(f"{source}, row {number}: {key!r} is missing or empty; fill it")
    return text_of(value, repr(key), f"{source}, row {number}")


def zero_or_one(row: Mapping[str, Any], where: str, names: tuple[str, str]) -> int:
    """`row["label"]` of a table whose labels are 0 and 1, or False and True, or these `names`.

    Raises:
        CulnigError: it is another; the message begins with `where`.
    """
    label = row["label"].strip().lower()
    for value, spellings in enumerate((("0", "0.0", "false"), ("1", "1.0", "true"))):
        if label in (*spellings, names[value]):
            return value
    raise CulnigError(
        f"{where}: label {row['label']!r} is neither 0 nor 1; use a split that is labelled"
    )
