"""How the tests check annotations while they run: beartype, with closed sets of texts left to us.

A `Literal` of texts counts as any text here, so that a wrong one reaches the package's own message,
which the tests are about. pyright still holds callers to the set.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal, get_args, get_origin

from beartype import BeartypeConf, FrozenDict, beartype


def check(thing: Any) -> Any:
    """`beartype` for a function or class, but for its closed sets of texts."""
    hints = getattr(thing, "__annotations__", {}).values()
    closed = frozenset(literal for hint in hints for literal in _closed_sets(hint))
    return _checker(closed)(thing)


def _closed_sets(hint: Any) -> Iterator[Any]:
    """The Literals of texts in a hint, at any depth."""
    if get_origin(hint) is Literal:
        if all(isinstance(choice, str) for choice in get_args(hint)):
            yield hint
        return
    for part in get_args(hint):
        for each in part if isinstance(part, list) else [part]:
            yield from _closed_sets(each)


@cache
def _checker(closed: frozenset[Any]) -> Callable[[Any], Any]:
    overrides = FrozenDict(dict.fromkeys(closed, str))
    return beartype(conf=BeartypeConf(hint_overrides=overrides))
