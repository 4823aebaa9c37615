"""Sections of the report: each step owns one, and the report loops over them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.analysis.texts import interval_text
from culnig_tl.frames import Frame, read_frame
from culnig_tl.resampling import p_text
from culnig_tl.tasks import OWN, TASKS


def templates(task: str | None = None) -> Any:
    """The templates of `data/`: what is put in is no markup, and what is missing is an error.

    They know what the groups of the task are called.
    """
    import jinja2  # only where a page is made

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "data", encoding="utf-8"),
    )
    asked = TASKS[task or OWN]
    environment.globals |= {"group": asked.word, "groups": asked.words}
    return environment


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


def shown_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """`table_rows` for readers: ends of intervals within the cell of their value, p as `p_text`."""
    rows = []
    for row in table_rows(table):
        shown: dict[str, Any] = {}
        for name, value in row.items():
            if str(name).endswith(("_low", "_high")):
                continue
            if f"{name}_low" in row and f"{name}_high" in row:
                digits = 1 if max(abs(row[f"{name}_{end}"]) for end in ("low", "high")) >= 1 else 3
                shown[name] = interval_text(row, str(name), digits)
            elif name == "p" or str(name).startswith("p_"):
                shown[name] = p_text(value)
            elif isinstance(value, bool):
                shown[name] = "yes" if value else "no"
            else:
                shown[name] = value
        rows.append(shown)
    return rows


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table with what its index names, for a template or the terminal."""
    return table.reset_index().to_dict("records")
