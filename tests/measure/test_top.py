"""Screened, then ablated: the true top of all where all are ablated, of the screened otherwise."""

import numpy as np
import pytest
import tiny

from culnig_tl import CulnigError, NeuronSet, exact_effects, load_model, load_task
from culnig_tl.measure.top import top_effects
from culnig_tl.models.description import layout_of

pytestmark = pytest.mark.model


def test_of_everything_it_is_the_truth():
    model, instance = tiny.bridge("llama"), tiny.instances()[0]
    layout = layout_of(model)
    every = exact_effects(model, instance, NeuronSet(layout, np.arange(layout.total)))
    top = top_effects(model, instance, 20, share=1.0)
    best = every.nlargest(20, "exact")
    assert top["exact"].to_numpy() == pytest.approx(best["exact"].to_numpy(), abs=1e-7)
    keys = ["layer", "site", "index"]
    assert list(map(tuple, top[keys].to_numpy())) == list(map(tuple, best[keys].to_numpy()))


def test_at_least_k_of_each_site_are_ablated(monkeypatch):
    from culnig_tl.measure import top

    asked, real = [], top.exact_effects

    def watched(model, instance, neurons, **named):
        asked.append(neurons)
        return real(model, instance, neurons, **named)

    monkeypatch.setattr(top, "exact_effects", watched)
    found = top_effects(tiny.bridge("llama"), tiny.instances()[0], 4, share=0.05)
    counts = asked[0].frame()["site"].value_counts()
    assert counts.to_dict() == {"gate": 7, "q": 4, "k": 4, "v": 4}
    assert len(found) == 4


def test_only_the_sites_that_are_asked_for():
    found = top_effects(tiny.bridge("llama"), tiny.instances()[0], 3, sites=["k", "v"])
    assert set(found["site"]) <= {"k", "v"}


@pytest.mark.parametrize(
    ("k", "named", "message"),
    [
        (0, {}, "k is 0: give 1"),
        (500, {}, "k is 500"),
        (1, {"share": 1.5}, "share is 1.5"),
        (1, {"sites": ["mlp"]}, "unknown site 'mlp': choose from gate, q, k, v"),
    ],
)
def test_what_cannot_be(k, named, message):
    with pytest.raises(CulnigError, match=message):
        top_effects(tiny.bridge("llama"), tiny.instances()[0], k, **named)


@tiny.needs_gemma
@pytest.mark.slow
def test_the_screen_finds_the_true_top_of_a_layer():
    """All 2,048 gates of one layer of gemma ablated, against 3% of each site's."""
    model, instance = load_model("gemma-3-270m"), load_task("everyday", "test", limit=1)[0]
    layout = layout_of(model)
    span = layout.span(3, "gate")
    every = exact_effects(model, instance, NeuronSet(layout, np.arange(span.start, span.stop)))
    best = set(every.nlargest(5, "exact")["index"])
    top = top_effects(model, instance, 300, sites=["gate"])
    assert best <= set(top.loc[top["layer"] == 3, "index"])
