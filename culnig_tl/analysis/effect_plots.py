"""Figures of effects and their estimates: each returns matplotlib axes. Needs no model."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.analysis.agreement import Column
from culnig_tl.analysis.drawing import (
    CHANCE_LINE,
    SITE_COLOURS,
    SITE_LABELS,
    finish,
    new_axes,
    plain,
)
from culnig_tl.neurons.layout import SITES


def plot_agreement(
    effects: pd.DataFrame, *, estimate: Column = "first_order", axes: Axes | None = None
) -> Axes:
    """Estimate against exact effect, both as a share of P(n), one point an effect, by site.

    Example:
        `effects` is a frame of `taylor_check`.

        >>> axes = plot_agreement(effects)
        >>> axes.get_ylabel()
        'exact effect / P(n)'
    """
    axes = axes if axes is not None else new_axes(6.0, 4.6)
    x, y = (effects[column] / effects["probability"] for column in (estimate, "exact"))
    for site in SITES:
        rows = effects["site"] == site
        if rows.any():
            axes.scatter(
                x[rows],
                y[rows],
                s=6,
                alpha=0.5,
                linewidth=0,
                color=SITE_COLOURS[site],
                label=f"{SITE_LABELS[site]} ({rows.sum():,})",
                rasterized=True,
            )
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    axes.plot(ends, ends, color="#999999", linewidth=0.8, zorder=0, label="truth = estimate")
    # Linear around 0, logarithmic outside: effects span many orders of magnitude.
    small = max(1e-6, float(y.abs().quantile(0.25)))
    axes.set_xscale("symlog", linthresh=small)
    axes.set_yscale("symlog", linthresh=small)
    axes.set(
        xlabel=f"{estimate.replace('_', ' ')} estimate / P(n)",
        ylabel="exact effect / P(n)",
        title="Estimate against true ablation",
    )
    axes.tick_params(labelsize=8)
    axes.tick_params(axis="x", rotation=45)
    return finish(axes)


def plot_agreement_by_layer(
    summary: pd.DataFrame, *, statistic: str = "spearman", axes: Axes | None = None
) -> Axes:
    """A statistic of `agreement(by=["site", "layer"])` by layer: a line a site, with intervals.

    Example:
        `effects` is a frame of `taylor_check`, of which there is little here.

        >>> summary = agreement(effects, by=["site", "layer"], resamples=50)
        >>> plot_agreement_by_layer(summary, statistic="sign").get_ylabel()
        'sign'
    """
    axes = axes if axes is not None else new_axes(8.0, 3.2)
    for site in SITES:
        if site not in summary.index.get_level_values("site"):
            continue
        rows = summary.loc[site]
        axes.plot(
            rows.index, rows[statistic], color=SITE_COLOURS[site], marker="o", markersize=3,
            label=SITE_LABELS[site],
        )  # fmt: skip
        axes.fill_between(
            rows.index.to_numpy(dtype=float),
            rows[f"{statistic}_low"],
            rows[f"{statistic}_high"],
            color=SITE_COLOURS[site],
            alpha=0.15,
            linewidth=0,
        )
    axes.set(xlabel="layer", ylabel=statistic, title=f"Agreement with true ablation: {statistic}")
    axes.locator_params(axis="x", integer=True)
    return finish(axes)


def plot_dose_response(doses: pd.DataFrame, *, axes: Axes | None = None) -> Axes:
    """Accuracy against the factor, one line a set, from the frames of `dose_response`.

    The band is the 95% interval of its difference from factor 1, around it; dashed: chance.

    Example:
        `model` is a tiny random one, and `few` a set of four of its neurons.

        >>> doses = dose_response(model, instances, few, factors=(0, 1))
        >>> plot_dose_response(doses).get_xlabel()
        "factor on the set's activations"
    """
    axes = axes if axes is not None else new_axes(6.0, 3.2)
    for name, rows in doses.groupby("set", sort=False):
        label = plain(name)
        (line,) = axes.plot(
            rows["factor"], 100 * rows["accuracy"], marker="o", markersize=4, label=label
        )
        if "change_low" in rows and rows["change_low"].notna().all():
            ends = (
                100 * (rows["accuracy"] + rows[end] - rows["change"])
                for end in ("change_low", "change_high")
            )
            axes.fill_between(
                rows["factor"], *ends, color=line.get_color(), alpha=0.15, linewidth=0
            )
    if "chance" in doses:
        axes.axhline(100 * doses["chance"].mean(), label="chance", **CHANCE_LINE)
    axes.axvline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set(xlabel="factor on the set's activations", ylabel="accuracy (%)", title="Dose response")
    return finish(axes)


def plot_interaction(interactions: pd.DataFrame, *, axes: Axes | None = None) -> Axes:
    """Joint effect against the sum of single effects on log P, from `interaction`, in nats.

    Example:
        `model` is a tiny random one, and `few` a set of four of its neurons.

        >>> frame = interaction(model, instances[:3], few, effects=effects)
        >>> plot_interaction(frame).get_title()
        'How far from additive'
    """
    axes = axes if axes is not None else new_axes(6.0, 4.0)
    for name, rows in interactions.groupby("set", sort=False):
        axes.scatter(rows["singles_nats"], rows["joint_nats"], s=18, label=plain(name))
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.8, zorder=0, label="additive")
    axes.set(
        xlabel="sum of the single effects on log P (nats)",
        ylabel="effect of the whole set on log P (nats)",
        title="How far from additive",
    )
    return finish(axes)


def plot_faithfulness(curves: pd.DataFrame, *, axes: Axes | None = None) -> Axes:
    """Faithfulness by the share of neurons masked (dashed) or kept, from `faithfulness_curve`.

    A colour for each of `values`, what neurons are replaced by; the band spans the random sets.

    Example:
        `curve` is what `faithfulness_curve` found of a tiny model.

        >>> plot_faithfulness(curve).get_ylabel()
        'faithfulness (1: the whole model)'
    """
    axes = axes if axes is not None else new_axes(7.0, 4.0)
    if "values" not in curves:
        curves = curves.assign(values="")
    least = curves.loc[curves["share"] > 0, "share"].min()
    for number, (values, part) in enumerate(curves.groupby("values", sort=False)):
        for kind, style in (("kept", "-"), ("masked", "--")):
            rows = part[part["kind"] == kind]
            ranked = rows[rows["set"] == "ranked"].sort_values("share")
            axes.plot(
                ranked["share"].clip(lower=least / 3),
                ranked["faithful"],
                style,
                marker="o",
                markersize=3,
                color=f"C{number}",
                label=f"{kind}, the others {values}" if kind == "kept" else f"{kind}: {values}",
            )
            random = rows[rows["set"] != "ranked"].groupby("share")["faithful"]
            if len(random):
                axes.fill_between(
                    random.min().index.to_numpy(dtype=float).clip(min=least / 3),
                    random.min(),
                    random.max(),
                    color=f"C{number}",
                    alpha=0.15,
                    linewidth=0,
                )
    axes.set_xscale("log")
    axes.axhline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_ylim(-1.5, 2)
    axes.set(
        xlabel="share of neurons (by rank; band: random sets)",
        ylabel="faithfulness (1: the whole model)",
        title="What is left, and what is enough",
    )
    return finish(axes)
