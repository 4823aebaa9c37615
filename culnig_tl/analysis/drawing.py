"""What the figures share: colours, labels, axes and legends."""

import io
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

SITE_COLOURS = {"gate": "#4c72b0", "q": "#dd8452", "k": "#55a868", "v": "#c44e52"}
SITE_LABELS = {"gate": "MLP gate", "q": "query", "k": "key", "v": "value"}
LONGEST_TEXT = 40
CHANCE_LINE: dict[str, Any] = {"color": "#222222", "linestyle": "--", "linewidth": 0.9}


def plain(text: object) -> str:
    """A text as matplotlib shows it as it is: no formula (`$`), on one line, not too long.

    A label that begins with `_` would be left out of a legend, so a space comes before it.
    """
    line = "".join(c if c.isprintable() else " " for c in str(text))
    line = " ".join(line.split())
    if len(line) > LONGEST_TEXT:
        line = f"{line[: LONGEST_TEXT - 1]}…"
    line = line.replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line


def new_axes(width: float, height: float) -> Axes:
    """Axes of a figure of this size, in inches."""
    _, axes = plt.subplots(figsize=(width, height), layout="constrained")
    return axes


def finish(axes: Any) -> Axes:
    """Without a frame, the legend beside it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return axes


def legend_below(axes: Any) -> None:
    """The legend under the figure: beside it, a phone has no room."""
    handles, labels = axes.get_legend_handles_labels()
    axes.get_legend().remove()
    axes.get_figure().legend(
        handles, labels, frameon=False, fontsize=8, ncols=3, loc="outside lower center"
    )


def with_fewer_colours(png: bytes) -> bytes:
    """The same picture with 128 colours, which are enough for a figure: a third of the bytes."""
    kept = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128).save(kept, "PNG", optimize=True)
    return kept.getvalue()
