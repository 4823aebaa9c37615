"""Figures of sets and of what masking does: each returns matplotlib axes. Needs no model."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from culnig_tl.analysis.drawing import (
    CHANCE_LINE,
    SITE_COLOURS,
    SITE_LABELS,
    finish,
    legend_below,
    new_axes,
    plain,
)
from culnig_tl.analysis.texts import number_text
from culnig_tl.checks import check_choice
from culnig_tl.neurons.layout import SITES
from culnig_tl.neurons.scores import Scores, Target
from culnig_tl.neurons.sets import NeuronSet

FinetuningTests = Literal["trained", "culture"]
FINETUNING_TESTS: tuple[FinetuningTests, ...] = get_args(FinetuningTests)
CHOICE_COLOURS = {"top": "#c44e52", "bottom": "#4c72b0", "random": "#8c8c8c", "all": "#222222"}
HIGH_Z = 2.5
_BAR_COLOURS = {"original": "#555555", "masked": "#c44e52", "random": "#9ab6d6"}


def plot_distribution(neurons: NeuronSet, *, axes: Axes | None = None) -> Axes:
    """How many of the set's neurons sit in each layer, stacked by site (the paper's figure 3).

    Example:
        `neurons` is a set of 23 neurons.

        >>> axes = plot_distribution(neurons)
        >>> axes.get_title()
        'culture: 23 neurons'
    """
    axes = axes if axes is not None else new_axes(8.0, 3.2)
    counts = neurons.counts()
    bottom = pd.Series(0, index=counts.index)
    for site in SITES:
        axes.bar(
            counts.index,
            counts[site],
            bottom=bottom,
            color=SITE_COLOURS[site],
            label=f"{SITE_LABELS[site]} ({counts[site].sum():,})",
        )
        bottom = bottom + counts[site]
    title = f"{plain(neurons.name)}: {len(neurons):,} neurons"
    axes.set(xlabel="layer", ylabel="neurons", title=title)
    axes.locator_params(axis="both", integer=True)
    return finish(axes)


def plot_comparison(
    table: pd.DataFrame,
    *,
    axes: Axes | None = None,
    title: str = "",
    published: pd.DataFrame | None = None,
) -> Axes:
    """Original, masked and random per row of `compare`'s table.

    The whisker on the masked bar is the 95% interval of its difference from random; that on the
    random bar the standard deviation over the sets. A dashed line shows chance. With `published`
    (`published_table`) the paper's own figures are drawn over the bars.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> axes = plot_comparison(compare(original, masked, random, resamples=100))
        >>> axes.get_ylabel()
        'accuracy (%)'
    """
    axes = axes if axes is not None else new_axes(8.0, 3.2)
    names = [f"{plain(task)}{' *' if row['significant'] else ''}" for task, row in table.iterrows()]
    errors = {"original": None, "random": table["random_sd"], "masked": None}
    if "difference_low" in table:
        errors["masked"] = _whiskers(table, "difference")
    labels = {
        "original": "original",
        "masked": "culture-general masked (95% interval of the difference from random)",
        "random": "random (sd over the sets)",
    }
    for offset, column in enumerate(("original", "masked", "random")):
        axes.bar(
            [i + 0.27 * (offset - 1) for i in range(len(table))],
            table[column],
            width=0.25,
            color=_BAR_COLOURS[column],
            label=labels[column],
            yerr=errors[column],
            ecolor="#333333",
            capsize=3,
        )
        if published is not None:
            there = [i for i, task in enumerate(table.index) if task in published.index]
            axes.scatter(
                [i + 0.27 * (offset - 1) for i in there],
                published.loc[table.index[there], column],
                marker="_",
                s=120,
                color="black",
                label="as published" if column == "random" else None,
            )
    _chance_lines(axes, table.get("chance"), [(i - 0.42, i + 0.42) for i in range(len(table))])
    axes.set_xticks(range(len(table)), names)
    if len(table) > 5 or max(map(len, names)) > 12:
        axes.tick_params(axis="x", rotation=30)
    axes.set_ylim(bottom=0)
    axes.set(ylabel="accuracy (%)", title=title or "What masking does (* significant)")
    finish(axes)
    legend_below(axes)
    return axes


def plot_groups(table: pd.DataFrame, task: str, *, axes: Axes | None = None) -> Axes:
    """Accuracy per group before and after masking, from `by_group`'s table.

    The whisker is the 95% interval of masked minus random, around masked; the dashed line chance.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> from culnig_tl.analysis.comparison import by_group
        >>> axes = plot_groups(by_group(original, masked, random, resamples=100), "tiny")
        >>> axes.get_xlabel()
        'accuracy (%)'
    """
    rows = table.loc[task].sort_values("original")
    axes = axes if axes is not None else new_axes(8.0, 0.9 + 0.3 * len(rows))
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
    if "difference_low" in rows:
        axes.errorbar(
            rows["masked"], range(len(rows)), xerr=_whiskers(rows, "difference"), fmt="none",
            ecolor=_BAR_COLOURS["masked"], alpha=0.5, capsize=2, zorder=1,
            label="95% interval of masked - random",
        )  # fmt: skip
    if "chance" in rows and rows["chance"].notna().any():
        axes.axvline(rows["chance"].mean(), label="chance", **CHANCE_LINE)
    counts = rows["questions" if "questions" in rows else "items"]
    names = [f"{plain(group)} ({int(count)})" for group, count in counts.items()]
    axes.set_yticks(range(len(rows)), names)
    axes.set(xlabel="accuracy (%)", title=f"{plain(task)} (questions)")
    left, right = axes.get_xlim()
    axes.set_xlim(max(left, -2), min(right, 102))  # an interval may be longer than the scale
    return finish(axes)


def _whiskers(table: pd.DataFrame, value: str) -> np.ndarray:
    """How far the 95% interval of a column reaches below and above it."""
    low, high = table[value] - table[f"{value}_low"], table[f"{value}_high"] - table[value]
    return np.stack([low.clip(lower=0), high.clip(lower=0)])


def _chance_lines(
    axes: Axes, chance: pd.Series | None, spans: Sequence[tuple[float, float]]
) -> None:
    """A dashed line at chance over each span, where it is known."""
    label: str | None = "chance"
    for value, span in zip([] if chance is None else chance, spans, strict=False):
        if np.isfinite(value):
            axes.plot(span, [value, value], label=label, **CHANCE_LINE)
            label = None


def plot_matrix(
    matrix: pd.DataFrame,
    label: str,
    title: str,
    *,
    axes: Axes | None = None,
    digits: int = 2,
    colours: str | None = None,
    interval: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    own: bool = False,
) -> Axes:
    """A heat map of a table, rows by columns, its values written in.

    `colours` is matplotlib's name of a colour map; None takes one with its middle at 0 where
    there are negative values, else one that begins at 0. `interval` are tables of the lower and
    the upper ends: written below the values. `own` frames the cells whose row and column have one
    name.

    Example:
        `patching` is a frame of `patching_effects` for Iran and Spain.

        >>> axes = plot_matrix(patching_matrix(patching, value="moved"), "nats", "Patching")
        >>> axes.get_xlabel(), axes.get_ylabel()
        ('target', 'source')
    """
    rows, columns = matrix.shape
    axes = axes if axes is not None else new_axes(2.8 + 0.55 * columns, 1.6 + 0.55 * rows)
    values = matrix.to_numpy(dtype=float)
    finite = values[np.isfinite(values)]
    high = max(float(np.abs(finite).max()), 1e-12) if len(finite) else 1.0
    low = -high if len(finite) and finite.min() < 0 else 0.0
    image = axes.imshow(values, cmap=colours or ("RdBu_r" if low else "Reds"), vmin=low, vmax=high)
    for row, column in np.ndindex(values.shape):
        if np.isfinite(values[row, column]):
            red, green, blue, _ = image.to_rgba(values[row, column])
            shade = "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else "black"
            text = number_text(values[row, column], digits)
            if interval is not None:
                ends = (number_text(end.iloc[row, column], digits) for end in interval)
                text += "\n" + "$_{[" + ", ".join(ends) + "]}$"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=shade)
    for row, name in enumerate(matrix.index):
        if own and name in matrix.columns:
            column = list(matrix.columns).index(name)
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, linewidth=1.6))
    axes.set_xticks(
        range(columns), [plain(name) for name in matrix.columns], rotation=45, ha="right"
    )
    axes.set_yticks(range(rows), [plain(name) for name in matrix.index])
    axes.set(xlabel=matrix.columns.name or "", ylabel=matrix.index.name or "", title=title)
    plt.colorbar(image, ax=axes, label=label, shrink=0.8)
    return axes


def plot_layers(sets: Sequence[NeuronSet]) -> Axes:
    """Neurons by layer, all sites together, as shares of the set: a small picture for each set,
    with the first one's outline in grey.

    Returns:
        The axes of the first set.

    Example:
        `few` is a set of four of the `neurons`.

        >>> axes = plot_layers([neurons, few])
        >>> len(axes.get_figure().axes)
        2
    """
    columns = min(3, len(sets))
    rows = -(-len(sets) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(2.9 * columns, 1.0 + 1.5 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    shares = [neurons.counts().sum(axis=1) for neurons in sets]
    shares = [100 * counts / max(counts.sum(), 1) for counts in shares]
    for axes, neurons, share in zip(grid.flat, sets, shares, strict=False):
        axes.bar(share.index, share, color=SITE_COLOURS["gate"], width=0.8)
        if share is not shares[0]:
            axes.step(shares[0].index, shares[0], where="mid", color="#888888", linewidth=0.9)
        axes.set_title(f"{plain(neurons.name)} ({len(neurons):,})", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.locator_params(axis="x", integer=True)
    for axes in grid.flat[len(sets) :]:
        axes.remove()
    figure.supxlabel("layer", fontsize=9)
    figure.supylabel("% of the set", fontsize=9)
    return grid.flat[0]


def plot_sweep(sweep: pd.DataFrame, *, axes: Axes | None = None) -> Axes:
    """Reduction of accuracy against the share t of gate neurons, a line for each r (figure 2),
    with 95% intervals.

    Example:
        `sweep` is the table of a study's sweep: reduction and neurons by t and r.

        >>> axes = plot_sweep(sweep)
        >>> axes.get_ylabel()
        'accuracy lost (points)'
    """
    axes = axes if axes is not None else new_axes(6.5, 3.2)
    for r, rows in sweep.reset_index().groupby("r"):
        errors = _whiskers(rows, "reduction") if "reduction_low" in rows else None
        axes.errorbar(
            100 * rows["t"], rows["reduction"], yerr=errors, marker="o", capsize=2, elinewidth=0.7,
            label=f"r = {100 * r:g}%",
        )  # fmt: skip
        for _, row in rows.iterrows():
            axes.annotate(
                f"{row['neurons']:,.0f}",
                (100 * row["t"], row["reduction"]),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.margins(x=0.06, y=0.12)
    axes.set_xscale("log")
    ticks = sorted(sweep.index.get_level_values("t").unique())
    axes.set_xticks([100 * t for t in ticks], [f"{100 * t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set(
        xlabel="t: share of gate neurons selected (%)",
        ylabel="accuracy lost (points)",
        title="Shares t and r (numbers: neurons masked)",
    )
    return finish(axes)


def plot_score_histogram(
    scores: Scores, *, target: Target | None = None, axes: Axes | None = None
) -> Axes:
    """How many neurons have which score, in standard deviations, by variant (figure 30).

    Example:
        `scores` are what `attribute` found.

        >>> axes = plot_score_histogram(scores)
        >>> len(axes.get_legend().get_texts())  # a variant each
        3
    """
    axes = axes if axes is not None else new_axes(6.5, 3.2)
    for variant in scores.variants:
        mean = scores.mean(variant=variant, target=target)
        z = (mean - mean.mean()) / (mean.std() or 1.0)
        label = f"{variant} ({(z >= HIGH_Z).sum():,} of z >= {HIGH_Z})"
        axes.hist(z.clip(-10, 30), bins=np.linspace(-10, 30, 81), histtype="step", label=label)
    axes.set_yscale("log")
    axes.axvline(HIGH_Z, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set(
        xlabel="score (standard deviations from the mean; the ends hold what is beyond)",
        ylabel="neurons",
        title="Scores of all neurons",
    )
    return finish(axes)


def plot_finetuning(
    curves: pd.DataFrame, *, tests: FinetuningTests = "culture", axes: Axes | None = None
) -> Axes:
    """Accuracy against training step: a line for each choice of modules (figure 5), a style for
    each learning rate; thin: single seeds.

    Args:
        curves: of `read_curves`.
        tests: `culture`: the mean over the tests that were not trained; `trained`: the task's own.

    Raises:
        CulnigError: unknown `tests`.

    Example:
        `curves` are those of `read_curves` for two choices of modules.

        >>> axes = plot_finetuning(curves, tests="trained")
        >>> axes.get_title()
        'qnli (trained), learning rate 0.0001'
    """
    check_choice("tests", tests, FINETUNING_TESTS)
    axes = axes if axes is not None else new_axes(5.5, 3.2)
    own = curves["task"] == curves["trained"]
    rows = curves[own if tests == "trained" else ~own]
    rates = sorted(rows["learning_rate"].unique())
    for rate, style in zip(rates, itertools.cycle(("-", "--", ":", "-."))):
        for choice, colour in CHOICE_COLOURS.items():
            part = rows[(rows["which"] == choice) & (rows["learning_rate"] == rate)]
            one = part.groupby(["seed", "step"])["accuracy"].mean()
            if one.empty:
                continue
            look = {"color": colour, "linestyle": style}
            for seed in one.index.unique("seed"):
                line = one.xs(seed)
                axes.plot(line.index, line, linewidth=0.6, alpha=0.6, **look)
            mean = one.groupby("step").mean()
            label = choice if len(rates) == 1 else f"{choice}, {rate:g}"
            axes.plot(mean.index, mean, marker="o", markersize=3, label=label, **look)
    if "chance" in rows and rows["chance"].notna().all():
        axes.axhline(rows.groupby("task")["chance"].first().mean(), label="chance", **CHANCE_LINE)
    title = f"{plain(curves['trained'].iloc[0])} (trained)" if tests == "trained" else "culture"
    if len(rates) == 1:
        title += f", learning rate {rates[0]:g}"
    axes.set(xlabel="step", ylabel="accuracy (%)")
    axes.set_title(title, fontsize=9)
    return finish(axes)


def finetuning_figure(curves: pd.DataFrame) -> Figure:
    """`plot_finetuning` of both kinds of tests side by side, a row for each learning rate."""
    rates = sorted(curves["learning_rate"].unique())
    figure, grid = plt.subplots(
        len(rates), 2, figsize=(9, 2.6 * len(rates)), sharex=True, sharey="col", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, rate in zip(grid, rates, strict=True):
        for axes, tests in zip(row, FINETUNING_TESTS, strict=True):
            plot_finetuning(curves[curves["learning_rate"] == rate], tests=tests, axes=axes)
            axes.label_outer()
        row[1].set_ylabel("")
        row[0].get_legend().remove()
    return figure
