"""Sections of the report: each step owns one, and the report loops over them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.frames import Frame, read_frame


@dataclass(frozen=True)
class Section:
    """What a step adds to the report.

    Attributes:
        name: of its template, `data/NAME.html`.
        read: what the step left in the folder of a run; None where it has not come to its end.
        show: from that, the template's values (tables as `table_rows`), and figures by name.
    """

    name: str
    read: Callable[[Path], Any]
    show: Callable[[Any], tuple[dict[str, Any], dict[str, Axes]]]


def read_frames(folder: Path, frames: Mapping[str, Frame]) -> dict[str, Any] | None:
    """The tables (CSV) of these names in a folder, or None if one is missing.

    Raises:
        CulnigError: one is damaged.
    """
    files = {name: folder / f"{name}.csv" for name in frames}
    if not all(file.exists() for file in files.values()):
        return None
    return {name: read_frame(files[name], frame) for name, frame in frames.items()}


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table with what its index names, for a template or the terminal."""
    return table.reset_index().to_dict("records")
