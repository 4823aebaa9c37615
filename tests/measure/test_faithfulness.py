"""Faithfulness curves: their ends, and a point against masking by hand; areas by hand."""

import numpy as np
import pandas as pd
import pytest
import tiny

from culnig_tl import CulnigError, NeuronSet, evaluate
from culnig_tl.analysis.faithfulness import faithfulness_areas
from culnig_tl.measure.faithfulness import faithfulness_curve
from culnig_tl.measure.reference import reference_activations
from culnig_tl.models.description import layout_of

pytestmark = pytest.mark.model


def ranking(model) -> np.ndarray:
    return np.random.default_rng(0).normal(size=layout_of(model).total)


@pytest.mark.parametrize("values", ["zero", "mean", "resample"])
def test_from_everything_to_nothing(values):
    model, instances = tiny.bridge("llama"), tiny.instances()
    reference = reference_activations(model, instances, rows=9)
    how = {"values": values, "reference": None if values == "zero" else reference}
    curve = faithfulness_curve(model, instances, ranking(model), shares=(0.1,), seeds=1, **how)
    faithful = curve.set_index(["kind", "set", "share"])["faithful"]
    for name in ("ranked", "random-0"):
        assert faithful["masked", name, 0.0] == faithful["kept", name, 1.0] == 1
        assert faithful["masked", name, 1.0] == faithful["kept", name, 0.0] == 0
    assert curve.set_index("share").loc[0.1, "neurons"].unique().tolist() == [33]
    # By hand: the 33 of the highest rank masked, log P by `evaluate`.
    best = NeuronSet(layout_of(model), np.argsort(-ranking(model))[:33])
    for kind, neurons in (
        ("masked", best),
        ("kept", NeuronSet(best.layout, np.arange(336)) - best),
    ):
        expected = np.log(evaluate(model, instances, neurons, **how)["probability"]).mean()
        found = curve[(curve["kind"] == kind) & (curve["set"] == "ranked")].set_index("share")
        assert found.loc[0.1, "log_probability"] == pytest.approx(expected, abs=1e-4)


def test_areas_by_hand():
    """f: 0, 0.5, 1.5, 1 at 0, 0.2, 0.6, 1: CPR 0.05 + 0.4 + 0.5, CMD 0.15 + 0.2 + 0.1."""
    part = {"share": [0.0, 0.2, 0.6, 1.0], "faithful": [0.0, 0.5, 1.5, 1.0]}
    kept = pd.DataFrame({"set": "ranked", "kind": "kept", **part})
    other = kept.assign(kind="masked", faithful=9.0)
    areas = faithfulness_areas(pd.concat([kept, other]))
    assert areas.loc["ranked", "CPR"] == pytest.approx(0.95)
    assert areas.loc["ranked", "CMD"] == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("ranked", "named", "message"),
    [
        (lambda n: np.zeros(3), {}, "the ranking has 3 neurons, the model 336"),
        (np.zeros, {"shares": ()}, "no shares: give one or more"),
        (np.zeros, {"shares": (2.0,)}, "share is 2"),
        (np.zeros, {"values": "mean"}, "values 'mean' need a reference"),
    ],
)
def test_what_cannot_be(ranked, named, message):
    model = tiny.bridge("llama")
    with pytest.raises(CulnigError, match=message):
        faithfulness_curve(model, tiny.instances()[:1], ranked(336), **named)
