"""The columns of a CSV, TSV, JSON, JSON Lines or Parquet file, as the file has them.

No type is guessed, and every row is the file's: a line that does not go with the header is
refused, never shifted or left out.
"""

import csv
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from culnig_tl.files import parse_json, read_bytes, read_text

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
Columns = dict[str, list[Any]]
# A cell in quotes of its own, those inside it doubled.
_WRAPPED = re.compile(r'"(?:[^"]|"")*"')


def read_columns(path: Path, *, wanted: Collection[str] | None = None) -> Columns:
    """The cells of each column; only those that are `wanted`, where it is given.

    - CSV: fields may be in quotes, and then hold commas and line ends.
    - TSV: a line is a row, and a quote is a character, as in GLUE's files; but where the file is
      plainly written with a CSV's quoting, the quotes around cells are taken off (`_unquoted`).
    - JSON: a list of objects, objects one a line, or an object of columns as pandas writes it.
    - JSON Lines: an object a line; lines end at a line feed alone, not at other separators.

    Lines without anything on them are left out, and so are columns without a name. White space
    around names is taken off. A cell that a JSON row lacks is None.

    Raises:
        ValueError: it cannot be parsed; the message gives the row, counted from 1, and the line.
        CulnigError: as `read_text`.
    """
    kind = path.suffix.lower()
    if kind == ".parquet":
        names, cells = _parquet(path)
    elif kind in (".json", ".jsonl"):
        names, cells = _of_rows(_json_rows(path))
    else:
        text = read_text(path)
        records = _tsv_records(text) if kind == ".tsv" else _csv_records(text)
        names, cells = _of_records(records, wanted)
    found: Columns = {}
    for name, column in zip(map(str.strip, names), cells, strict=True):
        if name in found:
            raise ValueError(f"column {name!r} is there twice: keep one")
        if name and not name.startswith("__index_level_"):  # of a table that pandas wrote
            found[name] = column
    return found


def read_json_or_lines(path: Path) -> Any:
    """What a JSON file says; or a list of what each line says, where the lines are JSON.

    Raises:
        ValueError: it is neither; the message gives the line.
        CulnigError: as `read_text`.
    """
    text = read_text(path)
    lines = [(line, part.strip()) for line, part in _lines(text) if part.strip()]
    if not lines:
        raise ValueError("it is empty")
    first = lines[0][1]
    if path.suffix.lower() == ".jsonl":
        by_line = not first.startswith("[")
    else:  # many files of JSON Lines are named .json
        by_line = len(lines) > 1 and first.startswith("{") and first.endswith("}")
    return [_line_of_json(*line) for line in lines] if by_line else parse_json(text)


def _json_rows(path: Path) -> list[dict[str, Any]]:
    content = read_json_or_lines(path)
    rows = _rows_of_columns(content) if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise ValueError("it must be a list of objects, one a row")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is not an object like {{column: cell}}")
    return rows


def _line_of_json(line: int, text: str) -> Any:
    try:
        return parse_json(text.lstrip("\ufeff"))  # files with a mark each, put together
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error


def _rows_of_columns(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of `{column: [cell, ...]}` or `{column: {row: cell, ...}}`."""
    columns = {
        name: list(cells.values()) if isinstance(cells, dict) else cells
        for name, cells in content.items()
    }
    alike = all(isinstance(cells, list) for cells in columns.values())
    if not alike or len({len(cells) for cells in columns.values()}) != 1:
        raise ValueError("it is one object, and a list of objects is needed, one a row")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _of_rows(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[row.get(name) for row in rows] for name in names]


def _parquet(path: Path) -> tuple[list[str], list[list[Any]]]:
    import pyarrow.parquet  # not needed for text

    if not read_bytes(path, most=200):  # it tells stand-ins apart, too
        raise ValueError("it is empty")
    table = pyarrow.parquet.ParquetFile(path).read()
    return table.column_names, [column.to_pylist() for column in table.columns]


def _lines(text: str) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers. They end at a line feed, with or without a
    carriage return before it; or at a carriage return, where there is no line feed at all."""
    separator = "\n" if "\n" in text else "\r"
    lines = enumerate(text.split(separator), start=1)
    return [(n, line.removesuffix("\r")) for n, line in lines if line.strip(" \r") or "\t" in line]


def _csv_records(text: str) -> list[tuple[int, list[str]]]:
    """The fields of each record, with the line in which it begins; the first is the header."""
    if "\n" not in text:
        text = text.replace("\r", "\n")
    before = csv.field_size_limit(2**31 - 1)
    reader = csv.reader((f"{line}\n" for line in text.split("\n")), strict=True)
    records: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for fields in reader:
            if fields and not (len(fields) == 1 and fields[0].isspace()):
                records.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        row = f"row {len(records)}" if records else "the header"
        lone = "new-line character" in str(error)
        reason = "a carriage return outside quotes" if lone else error
        raise ValueError(f"{row} (line {line}): {reason}") from error
    finally:
        csv.field_size_limit(before)
    return records


def _tsv_records(text: str) -> list[tuple[int, list[str]]]:
    records = [(line, part.split("\t")) for line, part in _lines(text)]
    return _unquoted(records) if '"' in text else records


def _unquoted(records: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Without the quotes around cells, if it was a CSV's writer who set them.

    That is so where no cell has a quote elsewhere than around it or doubled inside, and either
    the header is in quotes or each cell in quotes has one inside: the only reason to set them.
    """
    header = {cell for cell in records[0][1] if '"' in cell}
    quoted = header | {cell for _, cells in records for cell in cells if '"' in cell}
    if not all(map(_WRAPPED.fullmatch, quoted)):
        return records
    if not header and not all('""' in cell[1:-1] for cell in quoted):
        return records
    plain = {cell: cell[1:-1].replace('""', '"') for cell in quoted}
    return [(line, [plain.get(cell, cell) for cell in cells]) for line, cells in records]


def _of_records(
    records: list[tuple[int, list[str]]], wanted: Collection[str] | None
) -> tuple[list[str], list[list[str]]]:
    if not records:
        raise ValueError("it is empty")
    header = records[0][1]
    for row, (line, fields) in enumerate(records[1:], start=1):
        if len(fields) != len(header):
            raise ValueError(
                f"row {row} (line {line}) has {len(fields)} fields, and the header {len(header)}"
            )
    kept = [i for i, name in enumerate(header) if wanted is None or name.strip() in wanted]
    return [header[i] for i in kept], [[fields[i] for _, fields in records[1:]] for i in kept]
