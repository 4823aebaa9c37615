"""Figures: every one draws on the axes it is given, and gives them back."""

import inspect
import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from culnig_tl.analysis import effect_plots, plots
from culnig_tl.analysis.drawing import with_fewer_colours
from culnig_tl.analysis.plots import finetuning_figure, plot_finetuning
from culnig_tl.errors import CulnigError

PLOTS = [
    function
    for module in (plots, effect_plots)
    for name, function in vars(module).items()
    if name.startswith("plot_")
]


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def curves(*rates: float) -> pd.DataFrame:
    """Two choices of modules, two seeds, two steps; 10 is the step's accuracy on the own task."""
    return pd.DataFrame(
        [
            {
                "trained": "qnli",
                "task": task,
                "which": which,
                "learning_rate": rate,
                "seed": seed,
                "step": step,
                "accuracy": accuracy + seed,
            }
            for rate in rates
            for which in ("top", "bottom")
            for seed in (0, 2)
            for step in (0, 8)
            for task, accuracy in (("qnli", 50 + step), ("everyday", 40 - step), ("blend", 20))
        ]
    )


@pytest.mark.parametrize("function", PLOTS, ids=lambda function: function.__name__)
def test_every_plot_takes_axes_and_returns_axes(function):
    signature = inspect.signature(function)
    if function is plots.plot_layers:  # draws several pictures, so a figure of its own
        assert "axes" not in signature.parameters
        return
    axes = signature.parameters["axes"]
    assert axes.default is None
    assert axes.kind is inspect.Parameter.KEYWORD_ONLY
    assert signature.return_annotation is plots.Axes


def test_curves_of_the_trained_task():
    _, axes = plt.subplots()
    assert plot_finetuning(curves(1e-4), tests="trained", axes=axes) is axes
    labelled = {line.get_label(): line for line in axes.get_lines() if line.get_label()[0] != "_"}
    assert list(labelled) == ["top", "bottom"]
    assert list(labelled["top"].get_ydata()) == [51, 59]  # the mean of the seeds
    assert len(axes.get_lines()) == 6  # and each seed


def test_curves_of_culture_are_the_mean_of_both_other_tasks():
    culture = plot_finetuning(curves(1e-4))
    line = next(one for one in culture.get_lines() if one.get_label() == "top")
    assert list(line.get_ydata()) == [31, 27]


def test_curves_of_no_such_tests():
    with pytest.raises(CulnigError, match="unknown tests 'x': choose from trained, culture"):
        plot_finetuning(curves(1e-4), tests="x")


def test_learning_rates_are_told_apart():
    axes = plot_finetuning(curves(1e-4, 1e-3))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["top, 0.0001", "bottom, 0.0001", "top, 0.001", "bottom, 0.001"]
    styles = {line.get_linestyle() for line in axes.get_lines()}
    assert styles == {"-", "--"}


def test_a_figure_of_all_curves():
    figure = finetuning_figure(curves(1e-4, 1e-3))
    assert [axes.get_title() for axes in figure.axes] == [
        "qnli (trained), learning rate 0.0001",
        "culture, learning rate 0.0001",
        "qnli (trained), learning rate 0.001",
        "culture, learning rate 0.001",
    ]
    assert [axes.get_legend() is None for axes in figure.axes] == [True, False] * 2


def test_fewer_colours_are_the_same_picture():
    axes = plt.subplots()[1]
    axes.imshow(np.arange(100).reshape(10, 10), cmap="Reds")
    whole = io.BytesIO()
    axes.get_figure().savefig(whole, format="png")
    small = with_fewer_colours(whole.getvalue())
    assert len(small) < 0.6 * len(whole.getvalue())
    one, other = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float)
        for png in (whole.getvalue(), small)
    )
    assert one.shape == other.shape
    assert np.abs(one - other).mean() < 2  # of 255
