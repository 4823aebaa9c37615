"""Numbers as tables show them: with their spread, or with their interval."""

from collections.abc import Mapping
from typing import Any


def number_text(value: float, digits: int = 1) -> str:
    """A number as tables show it; `-` for none.

    Example:
        >>> number_text(25.04), number_text(float("nan")), number_text(-0.01)
        ('25.0', '-', '0.0')
    """
    return "-" if value != value else f"{round(value, digits) + 0.0:.{digits}f}"


def spread_text(mean: float, deviation: float, digits: int = 1) -> str:
    """A mean and its standard deviation, which of one value is none.

    Example:
        >>> spread_text(50.0, 1.25), spread_text(50.0, float("nan"))
        ('50.0 ± 1.2', '50.0')
    """
    text = number_text(mean, digits)
    return text if deviation != deviation else f"{text} ± {number_text(deviation, digits)}"


def interval_text(row: Mapping[str, Any], name: str, digits: int = 1) -> str:
    """A value with its interval, which stands beside it as `NAME_low` and `NAME_high`.

    Example:
        >>> interval_text({"loss": 3.0, "loss_low": 1.0, "loss_high": 5.25}, "loss")
        '3.0 [1.0, 5.2]'
        >>> interval_text({"loss": float("nan"), "loss_low": 1.0, "loss_high": 5.25}, "loss")
        '-'
    """
    value = number_text(row[name], digits)
    if row[name] != row[name]:
        return value
    ends = (number_text(row[f"{name}_{end}"], digits) for end in ("low", "high"))
    return f"{value} [{', '.join(ends)}]"


def duration_text(seconds: float | int) -> str:
    """How long something takes; `-` where that is not known.

    Example:
        >>> [duration_text(seconds) for seconds in (0.3, 2.4, 200, 9000, 4e6, float("nan"))]
        ['< 1 s', '2 s', '3 min', '2 h', '> 1,000 h', '-']
    """
    if seconds != seconds:
        return "-"
    if seconds > 1000 * 3600:
        return "> 1,000 h"
    if seconds < 1:
        return "< 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"
