# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# (pandas types most results as unions of everything it can return)
"""Figures: each takes a frame or a neuron set and returns matplotlib axes. Needs no model."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.neurons import SITES, NeuronSet

SITE_COLOURS = {"gate": "#4c72b0", "q": "#dd8452", "k": "#55a868", "v": "#c44e52"}
_SITE_LABELS = {"gate": "MLP gate", "q": "query", "k": "key", "v": "value"}
_BAR_COLOURS = {"original": "#555555", "masked": "#c44e52", "random": "#9ab6d6"}


def plot_distribution(neurons: NeuronSet, axes: Axes | None = None) -> Axes:
    """How many of the set's neurons sit in each layer, stacked by site (the paper's figure 3)."""
    axes = axes if axes is not None else _new_axes(8.0, 3.2)
    counts = neurons.counts()
    bottom = pd.Series(0, index=counts.index)
    for site in SITES:
        axes.bar(
            counts.index,
            counts[site],
            bottom=bottom,
            color=SITE_COLOURS[site],
            label=f"{_SITE_LABELS[site]} ({counts[site].sum():,})",
        )
        bottom = bottom + counts[site]
    axes.set(xlabel="layer", ylabel="neurons", title=f"{neurons.name}: {len(neurons):,} neurons")
    axes.locator_params(axis="both", integer=True)
    return _finish(axes)


def plot_comparison(table: pd.DataFrame, axes: Axes | None = None, title: str = "") -> Axes:
    """Original, masked and random per row of `compare`'s table, random with its deviation."""
    axes = axes if axes is not None else _new_axes(8.0, 3.2)
    names = [f"{task}{' *' if row['significant'] else ''}" for task, row in table.iterrows()]
    for offset, column in enumerate(("original", "masked", "random")):
        errors = table["random_sd"] if column == "random" else None
        axes.bar(
            [i + 0.27 * (offset - 1) for i in range(len(table))],
            table[column],
            width=0.25,
            color=_BAR_COLOURS[column],
            label="culture-general masked" if column == "masked" else column,
            yerr=errors,
            capsize=3,
        )
    axes.set_xticks(range(len(table)), names)
    axes.set(ylabel="accuracy (%)", title=title or "What masking does (* significant)")
    return _finish(axes)


def plot_countries(table: pd.DataFrame, task: str, axes: Axes | None = None) -> Axes:
    """Accuracy per country before and after masking, from `by_country`'s table."""
    rows = table.loc[task].sort_values("original")
    axes = axes if axes is not None else _new_axes(8.0, 0.9 + 0.3 * len(rows))
    for row, (_, values) in enumerate(rows.iterrows()):
        axes.plot([values["original"], values["masked"]], [row, row], color="#cccccc", zorder=1)
    for column, marker in (("original", "o"), ("masked", "D"), ("random", "|")):
        label = "culture-general masked" if column == "masked" else column
        axes.scatter(
            rows[column],
            range(len(rows)),
            color=_BAR_COLOURS[column],
            marker=marker,
            label=label,
            zorder=2,
        )
    names = [f"{country} ({int(count)})" for country, count in rows["items"].items()]
    axes.set_yticks(range(len(rows)), names)
    axes.set(xlabel="accuracy (%)", title=f"{task}: by country (items)")
    return _finish(axes)


def _new_axes(width: float, height: float) -> Axes:
    _, axes = plt.subplots(figsize=(width, height), layout="constrained")
    return axes


def _finish(axes: Any) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return axes
