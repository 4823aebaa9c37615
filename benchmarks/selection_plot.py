"""The figure of `selection.py`: culture's loss against the rest's, one point a method."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

COLOURS = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]


def plot_selection(table: pd.DataFrame, *, half: str, own: str, path: Path) -> None:
    """Write it: points at the left, nats at the right, losses beyond random sets with 95% bars.

    Above the line culture loses more than the rest does on average.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9.0, 4.6), layout="constrained")
    for axes, unit in zip(panels, ("points", "nats"), strict=True):
        here = (table["half"] == half) & (table["metric"] == unit)
        part = table[here].set_index(["test", "method"])
        ends = []
        for colour, name in zip(COLOURS, table["method"].unique(), strict=False):
            y, x = (part.loc[(test, name)] for test in (own, "rest"))
            axes.errorbar(
                -x["change"],
                -y["change"],
                xerr=[[x["change_high"] - x["change"]], [x["change"] - x["change_low"]]],
                yerr=[[y["change_high"] - y["change"]], [y["change"] - y["change_low"]]],
                fmt="o",
                markersize=5,
                linewidth=0.8,
                alpha=0.85,
                color=colour,
                label=str(name).replace("_", " "),
            )
            ends += [-x["change_low"], -y["change_low"]]
        end = max(ends) * 1.05
        axes.plot([0, end], [0, end], color="#999999", linewidth=0.8, zorder=0)
        axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axes.axvline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axes.set(
            xlabel=f"mean loss of the retained tests, {unit}",
            ylabel=f"loss of the cultural test, {unit}",
            title=f"in {unit}, beyond random",
        )
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=4, loc="outside lower center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
