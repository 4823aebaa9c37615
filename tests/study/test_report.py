"""Figures and report from made-up results: what they show, and that they stand alone."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from frames_by_hand import both, frame
from scores_by_hand import LAYOUT, scores

from culnig_tl.analysis.comparison import by_group, compare
from culnig_tl.analysis.groups import compare_groups, own_ranks, rank_groups
from culnig_tl.analysis.plots import plot_comparison, plot_distribution, plot_groups
from culnig_tl.neurons.layout import Neuron
from culnig_tl.neurons.selection import overlap
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.report import render_report

IDS = [LAYOUT.flat_id(n) for n in (Neuron(0, "gate", 1), Neuron(0, "gate", 2), Neuron(1, "q", 0))]
NEURONS = NeuronSet(
    layout=LAYOUT, ids=np.array(IDS), name="mine <b>", provenance={"arguments": {"variant": "max"}}
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def table() -> tuple[pd.DataFrame, pd.DataFrame]:
    original = both(frame([1] * 40), frame([1, 0] * 20, "countryrc"))
    masked = both(frame([0] * 40), frame([1, 0] * 20, "countryrc"))
    random = [both(frame([1] * 40), frame([1, 0] * 20, "countryrc"))]
    return compare(original, masked, random), by_group(original, masked, random)


def test_distribution_has_a_bar_for_each_layer_and_site():
    axes = plot_distribution(NEURONS)
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert heights["MLP gate (2)"] == [2, 0]
    assert heights["query (1)"] == [0, 1]
    assert heights["key (0)"] == heights["value (0)"] == [0, 0]
    assert "3 neurons" in axes.get_title()


def test_comparison_marks_what_is_significant():
    axes = plot_comparison(table()[0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["everyday *", "countryrc"]
    bars = [c for c in axes.containers if len(c.get_children()) == 2]
    assert [[bar.get_height() for bar in bar_set] for bar_set in bars] == [
        [100, 50],
        [0, 50],
        [100, 50],
    ]


def test_countries_show_their_number_of_questions():
    axes = plot_groups(table()[1], "everyday")
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(labels) == ["Iran (20)", "Spain (20)"]


def test_an_axes_can_be_given():
    _, axes = plt.subplots()
    assert plot_distribution(NEURONS, axes=axes) is axes


def report(path: Path, model: str, specific: Sequence[NeuronSet] = ()) -> str:
    accuracy, countries = table()
    run = {
        "arguments": {
            "seeds": 1,
            "matched_seeds": 0,
            "factor": 0.0,
            "model": "<script>",
            "variant": "max",
            "task": "everyday",
        },
        "datasets": {"test": {"instances": 40, "hash": "abc"}},
        "versions": {"torch": "2"},
        "model": {"name": model},
    }
    tables = {"table": accuracy, "probability": accuracy, "groups": countries}
    tables["sets"] = pd.DataFrame({"set": ["mine <b>"], "kind": ["general"]}).set_index("set")
    if specific:
        original = frame([1] * 40)
        masked = {neurons.name: frame([0, 1] * 20) for neurons in specific}
        tables["reductions"] = compare_groups(original, masked)
        tables["ranks"] = rank_groups(tables["reductions"])
        tables["own"] = own_ranks(original, masked)
        tables["overlap"] = overlap([NEURONS, *specific])
        tables["ablations"] = accuracy
    figures = path.parent / "figures"
    return render_report(run, NEURONS, scores(), tables=tables, specific=specific, figures=figures)


def test_the_papers_figures_stand_beside(tmp_path):
    specific = [dataclasses.replace(NEURONS, name=country) for country in ("Iran", "Spain")]
    html = report(tmp_path / "a.html", "microsoft/phi-4", specific)
    # Tables 2, 14, 15 (the same for every model) and 18.
    for figure in ("63.9", "1373", "3.5", "0.13"):
        assert f"<td>{figure}</td>" in html, figure
    other = report(tmp_path / "b.html", "tiny", specific)
    assert "<td>3.5</td>" in other
    assert "As published for this model" not in other


def test_report_stands_alone_and_escapes(tmp_path):
    html = report(tmp_path / "report.html", "<script>alert(1)</script>")
    # comparison, distribution, scores, two tasks
    assert html.count("data:image/png;base64,") == 5
    assert "http" not in html
    assert "<script" not in html
    assert "mine <b>" not in html
    files = sorted(file.name for file in (tmp_path / "figures").iterdir())
    assert files == [
        *("comparison.png", "distribution.png"),
        *("groups-countryrc.png", "groups-everyday.png", "scores.png"),
    ]
    score = scores().mean(variant="max")[IDS[2]]
    top = f"<td>q</td><td>1</td><td>0</td><td>{score:.3g}</td>"
    assert html.index(top) < html.index("<td>gate</td>")
    assert not plt.get_fignums()
