"""Checks of single values: each refuses in one line that says what would be right."""

import math
import numbers
from collections.abc import Iterable
from typing import Any

from culnig_tl.errors import CulnigError

FLOAT32_MOST = 3.4e38
SEED_MOST = 2**32 - 1  # what numpy and the Trainer take
COUNT_MOST = 2**53
SETS_MOST = 10_000  # random sets: each is an evaluation
NAME_BYTES = 200  # a file system allows 255, and what is written has an ending and a prefix
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10)}


def shown(value: Any, *, most: int = 80) -> str:
    """A value as it stands in a message: on one line, and not longer than `most` characters."""
    try:
        text = str(value) if isinstance(value, numbers.Real) else repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = f"a very long {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def check_number(
    what: str, value: Any, *, least: float | int = -FLOAT32_MOST, most: float | int = FLOAT32_MOST
) -> None:
    """Refuse what is no real number from `least` to `most`; NaN always, and infinity unless it is
    one of these two.

    Raises:
        CulnigError: it is not.
    """
    _check_kind(what, value, numbers.Real, name="a number")
    if not least <= value <= most:
        if abs(value) > FLOAT32_MOST or math.isnan(value):
            ways = "a finite number"
        elif most >= FLOAT32_MOST:
            ways = f"{least:g} or more"
        else:
            ways = f"a number between {least:g} and {most:g}"
        raise CulnigError(f"{what} is {shown(value)}: give {ways}")


def check_share(what: str, value: Any) -> None:
    """Refuse what is no number from 0 to 1.

    Raises:
        CulnigError: it is not.
    """
    _check_kind(what, value, numbers.Real, name="a number")
    if not 0 <= value <= 1:
        raise CulnigError(f"{what} is {shown(value)}: give a share between 0 and 1")


def check_count(
    what: str, value: Any, *, least: int = 0, most: int = COUNT_MOST, unit: str = ""
) -> None:
    """Refuse what is no whole number from `least` to `most`.

    Raises:
        CulnigError: it is not.
    """
    _check_kind(what, value, numbers.Integral, name="a whole number")
    unit = f" {unit}" if unit else ""
    if value < least:
        raise CulnigError(f"{what} is {shown(value)}: give {least} or more{unit}")
    if value > most:
        raise CulnigError(f"{what} is {shown(value)}: give {most} or less{unit}")


def check_choice(what: str, value: Any, choices: Iterable[str], *, otherwise: str = "") -> None:
    """Refuse what is none of `choices`; `otherwise` says what there is beside them.

    Raises:
        CulnigError: it is none; the message lists them.
    """
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise CulnigError(
            f"unknown {what} {shown(value)}: choose from {', '.join(choices)}"
            + (f"; {otherwise}" if otherwise else "")
        )


def check_flag(what: str, value: Any) -> None:
    """Refuse what is neither true nor false.

    Raises:
        CulnigError: it is another value.
    """
    _check_kind(what, value, bool, name="true or false")


def check_text(what: str, value: Any) -> None:
    """Refuse what is no text, is empty, or has control characters.

    Raises:
        CulnigError: it is such.
    """
    _check_kind(what, value, str, name="a text")
    if not value.strip():
        raise CulnigError(f"{what} is {shown(value)}: give a text that is not empty")
    if any(ord(character) < 32 for character in value):
        raise CulnigError(f"{what} is {shown(value)}: leave out control characters")


def check_file_name(what: str, value: Any) -> None:
    """Refuse a name that could not be a file's in a folder: one rule for every system.

    Raises:
        CulnigError: it is empty, begins with a dot, holds a separator or a control character, is
            longer than `NAME_BYTES` bytes, or means a device on Windows.
    """
    check_text(what, value)
    if value[0] == "." or any(c in "/\\" or not c.isprintable() for c in value):
        reason = "leave out slashes, control characters and a dot at the beginning"
    elif len(value.encode("utf-8", "surrogatepass")) > NAME_BYTES:
        reason = f"give a name of {NAME_BYTES} bytes at most"
    elif value.split(".")[0].lower() in _RESERVED:
        reason = "that is a device on Windows, give another name"
    else:
        return
    raise CulnigError(f"{what} {shown(value)} cannot be a file's name: {reason}")


def _check_kind(what: str, value: Any, kind: type, *, name: str) -> None:
    """Refuse a value of another type; true and false are no numbers here."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise CulnigError(f"{what} is {shown(value)}: give {name}")
