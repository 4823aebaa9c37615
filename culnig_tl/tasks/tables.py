# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# (pandas types most results as unions of everything it can return)
"""Rows of a local file (CSV, JSON, JSON lines, Parquet) or of a dataset on the Hub."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from culnig_tl.errors import CulnigError

_READERS = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".tsv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False, sep="\t"),
    ".json": lambda path: pd.read_json(path, dtype=False),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    ".parquet": pd.read_parquet,
}


def read_rows(
    hub: tuple[str, str | None, str],
    data: Path | None,
    columns: Sequence[str],
    nested: Sequence[str] = (),
) -> list[tuple[str, dict[str, Any]]]:
    """The rows of the local file `data`, or of the Hub's (name, config, split).

    Each comes with its place, `file, row 3`, for messages. `columns` are text; those in `nested`
    are as they are.

    Raises:
        CulnigError: as `read_table` and `read_hub`, and an empty cell in either.
    """
    if data is not None:
        source, table = str(data), read_table(data, columns, nested)
    else:
        source = hub[0]
        table = _text_columns(read_hub(*hub, [*columns, *nested]), source, columns)
    rows = table.to_dict("records")
    return [(f"{source}, row {number}", row) for number, row in enumerate(rows, start=1)]


def read_table(path: Path, columns: Sequence[str], nested: Sequence[str] = ()) -> pd.DataFrame:
    """A local table with at least `columns`, text that is empty in no row, and `nested`, as it is.

    Raises:
        CulnigError: no such file, a suffix that is not known, a file that cannot be parsed, a
            missing column, or an empty cell (the message gives the row, counted from 1).
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise CulnigError(f"cannot read {path}: its name must end in {', '.join(_READERS)}")
    if not path.is_file():
        raise CulnigError(f"no file {path}: check the path given as data")
    try:
        table = _READERS[path.suffix](path)
    except Exception as error:  # each format's parser has its own exceptions
        reason = " ".join(str(error).split())
        raise CulnigError(
            f"cannot parse {path}: {reason}; is it a {path.suffix[1:]} file?"
        ) from error
    missing = [column for column in [*columns, *nested] if column not in table.columns]
    if missing:
        raise CulnigError(
            f"{path} has no column {missing[0]!r}: its columns are {list(table.columns)}"
        )
    return _text_columns(table, str(path), columns)


def _text_columns(table: pd.DataFrame, source: str, columns: Sequence[str]) -> pd.DataFrame:
    for column in columns:
        table[column] = table[column].map(_number_as_text)
        cells = table[column]
        empty = cells.isna() | cells.map(lambda cell: isinstance(cell, str) and not cell.strip())
        if empty.any():
            row = int(empty.to_numpy().argmax()) + 1
            raise CulnigError(
                f"{source}, row {row}: column {column!r} is empty; fill it or drop it"
            )
        strange = ~cells.map(lambda cell: isinstance(cell, str))
        if strange.any():
            row = int(strange.to_numpy().argmax()) + 1
            raise CulnigError(f"{source}, row {row}: column {column!r} is not text; mend it")
    return table


def read_hub(name: str, config: str | None, split: str, columns: Sequence[str]) -> pd.DataFrame:
    """A dataset of the Hugging Face Hub as a table.

    Raises:
        CulnigError: it cannot be reached or found, or lacks one of `columns`.
    """
    import datasets  # heavy, and not needed for local data

    with hub_errors(f"dataset {name}"):
        table = datasets.load_dataset(name, config, split=split).to_pandas()
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise CulnigError(
            f"dataset {name} has no column {missing[0]!r}: its columns are {list(table.columns)}"
        )
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


def _number_as_text(cell: Any) -> Any:
    is_number = isinstance(cell, int | float) and not pd.isna(cell)
    return str(cell) if is_number else cell


def checked(row: Mapping[str, Any], key: str, source: object, number: int) -> str:
    """`row[key]` as text.

    Raises:
        CulnigError: it is missing or empty; the message gives the row, counted from 1.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise CulnigError(f"{source}, row {number}: {key!r} is missing or empty; fill it")
    return value


def zero_or_one(row: Mapping[str, Any], where: str) -> int:
    """`row["label"]` of a table whose labels are 0 and 1.

    Raises:
        CulnigError: it is another; the message begins with `where`.
    """
    if row["label"] not in ("0", "1"):
        raise CulnigError(
            f"{where}: label {row['label']!r} is neither 0 nor 1; use a split that is labelled"
        )
    return int(row["label"])
