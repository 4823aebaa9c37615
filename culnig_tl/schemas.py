"""Schemas: what the files of a run hold, checked whenever one of them is read.

A CSV file is read by a `Frame`: its columns, each of a `Kind`. A JSON file is read by a dictionary
of types by key; `key?` may be absent, a dictionary of `...` alone has any keys, a list of one is a
list of such. What is damaged is refused in one line: the file, the place, what it has, what it
should have, and what to do.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from types import EllipsisType
from typing import Any

from culnig_tl.checks import shown
from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json

AGAIN = "delete it and give the command that made it again"


def damaged(path: str | Path, what: str, *, remedy: str = AGAIN) -> CulnigError:
    """The error of a file that cannot be what it should be."""
    return CulnigError(f"{path} is damaged ({what}): {remedy}")


_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def read_object(
    path: str | Path, schema: Mapping[Any, Any], *, remedy: str = AGAIN
) -> dict[str, Any]:
    """Read a JSON file that holds an object of this schema.

    Raises:
        CulnigError: no such file, not JSON, or a key or value that is missing or another.
    """
    content = read_json(path)
    check_object(path, content, schema, remedy=remedy)
    return content


def check_object(path: str | Path, content: Any, schema: Any, *, remedy: str = AGAIN) -> None:
    """Refuse content of a JSON file that is not of the schema.

    Raises:
        CulnigError: the key, what it has, and what it should have.
    """
    _check(path, content, schema, where="", remedy=remedy)


def _check(path: str | Path, content: Any, schema: Any, *, where: str, remedy: str) -> None:
    what = f"{shown(where)} is" if where else "it is"
    if isinstance(schema, Mapping):
        if not isinstance(content, dict):
            raise damaged(path, f"{what} {shown(content)}, expected an object", remedy=remedy)
        for key, part in schema.items():
            if isinstance(key, EllipsisType):
                for name, value in content.items():
                    _check(path, value, part, where=f"{where}.{name}".strip("."), remedy=remedy)
                continue
            name = f"{where}.{key.rstrip('?')}".strip(".")
            if key.rstrip("?") in content:
                _check(path, content[key.rstrip("?")], part, where=name, remedy=remedy)
            elif not key.endswith("?"):
                raise damaged(path, f"{name!r} is missing", remedy=remedy)
    elif isinstance(schema, list):
        if not isinstance(content, list):
            raise damaged(path, f"{what} {shown(content)}, expected a list", remedy=remedy)
        for number, value in enumerate(content):
            _check(path, value, schema[0], where=f"{where}[{number}]", remedy=remedy)
    else:
        kinds = schema if isinstance(schema, tuple) else (schema,)
        # A whole number is a number; true and false are none.
        right = (int, float) if float in kinds else ()
        fits = isinstance(content, (*kinds, *right)) and (
            bool in kinds or not isinstance(content, bool)
        )
        if not fits or (isinstance(content, float) and not math.isfinite(content)):
            words = " or ".join(_WORDS[kind] for kind in kinds)
            raise damaged(path, f"{what} {shown(content)}, expected {words}", remedy=remedy)
