import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from culnig_tl.analysis.agreement import agreement
from culnig_tl.analysis.effect_plots import (
    plot_agreement,
    plot_agreement_by_layer,
    plot_dose_response,
)
from culnig_tl.analysis.plots import plot_matrix
from culnig_tl.errors import CulnigError


def effects(truth, estimate, instance: str = "a", **columns) -> pd.DataFrame:
    return pd.DataFrame(
        {"instance": instance, "site": "gate", "layer": 0, "probability": 0.5}
        | {"first_order": estimate, "integrated": np.nan, "exact": truth}
        | columns
    )


def test_by_hand():
    # Estimates are twice the truth; one sign is wrong of four real ones, the fifth is rounding.
    frame = effects([1.0, 2.0, 3.0, -1.0, 1e-9], [2.0, 4.0, 6.0, 1.0, -1.0])
    row = agreement(frame).loc["gate"]
    assert (row["instances"], row["effects"]) == (1, 5)
    assert row["sign"] == 0.75
    assert np.isnan(row["top"])
    x, y = frame["first_order"], frame["exact"]
    assert row["pearson"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert row["slope"] == pytest.approx(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    # Ranks of x: 3 4 5 2 1, of y: 3 4 5 1 2: 1 - 6 * 2 / 120.
    assert row["spearman"] == pytest.approx(0.9)
    assert np.isnan(row["pearson_low"])


def test_top_is_the_overlap_of_the_largest():
    truth = np.arange(10.0)
    estimate = truth.copy()
    estimate[[9, 0]] = estimate[[0, 9]]  # the largest is thought the smallest
    row = agreement(effects(truth, estimate), largest=3).loc["gate"]
    assert row["top"] == pytest.approx(2 / 3)


def test_statistics_are_taken_within_a_prompt():
    """Two prompts of different size that disagree with each other, each in perfect agreement."""
    one, two = [1.0, 2.0, 3.0], [300.0, 200.0, 100.0]
    frame = pd.concat(
        [effects(one, np.array(one) * 10, "a"), effects(two, np.array(two) / 100, "b")]
    )
    row = agreement(frame).loc["gate"]
    assert row["pearson"] == pytest.approx(1)
    assert row["slope"] == pytest.approx((0.1 + 100) / 2)


def test_intervals_are_over_prompts():
    rng = np.random.default_rng(0)
    parts = []
    for number in range(8):
        truth = rng.normal(size=50)
        parts.append(effects(truth, truth + rng.normal(size=50), f"p{number}"))
    row = agreement(pd.concat(parts)).loc["gate"]
    each = [p["exact"].corr(p["first_order"]) for p in parts]
    assert row["pearson"] == pytest.approx(np.mean(each))
    assert min(each) < row["pearson_low"] < row["pearson"] < row["pearson_high"] < max(each)
    again = agreement(pd.concat(parts)).loc["gate"]
    pd.testing.assert_series_equal(row, again)


def test_mistakes():
    frame = effects([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(CulnigError, match="no column 'head' in these effects: they have"):
        agreement(frame, by="head")
    with pytest.raises(CulnigError, match="'integrated' was not computed: call taylor_check"):
        agreement(frame, estimate="integrated")


@pytest.fixture(autouse=True)
def _no_open_figure():
    yield
    plt.close("all")


THREE = effects([1.0, 2.0, -3.0], [1.0, 2.5, -2.0])


def test_agreement_is_drawn_with_the_number_of_effects():
    legend = plot_agreement(THREE).get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["MLP gate (3)", "truth = estimate"]


def test_agreement_by_layer_is_a_line_a_site():
    summary = agreement(THREE, by=["site", "layer"])
    assert len(plot_agreement_by_layer(summary).get_lines()) == 1


def test_doses_are_drawn_in_percent():
    doses = pd.DataFrame({"set": "s", "factor": [0.0, 1.0], "accuracy": [0.2, 0.5]})
    assert plot_dose_response(doses).get_lines()[0].get_ydata().tolist() == [20, 50]


def test_a_matrix_has_its_numbers_but_for_those_that_are_none():
    matrix = pd.DataFrame([[np.nan, 0.25], [0.5, np.nan]], index=["A", "B"], columns=["A", "B"])
    texts = [text.get_text() for text in plot_matrix(matrix, "share", "title").texts]
    assert texts == ["0.25", "0.50"]
