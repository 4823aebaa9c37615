"""The check of annotations: what it refuses, and what it leaves to the package's own messages."""

from collections.abc import Callable
from typing import Literal

import pytest
from beartype.roar import BeartypeCallHintParamViolation
from typing_rules import check

Side = Literal["left", "right"]


@check
def one(side: Side | None, count: int = 0) -> None:
    return None


@check
def many(sides: list[tuple[int, Side]], choose: Callable[[Side], int]) -> None:
    return None


def test_any_text_passes_for_a_closed_set_at_any_depth():
    one("up")  # type: ignore[arg-type]
    one(None)
    many([(0, "left"), (1, "up")], len)  # type: ignore[list-item]


def test_what_is_no_text_does_not():
    with pytest.raises(BeartypeCallHintParamViolation, match="side"):
        one(3)  # type: ignore[arg-type]
    with pytest.raises(BeartypeCallHintParamViolation, match="sides"):
        many([(0, 1)], len)  # type: ignore[list-item]


def test_other_annotations_are_checked_as_ever():
    with pytest.raises(BeartypeCallHintParamViolation, match="count"):
        one("left", count="many")  # type: ignore[arg-type]
