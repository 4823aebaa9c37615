"""The joint path: toys by hand, and shares that add up to the true effect of real sets."""

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError, NeuronSet, load_model, load_task, select_random
from culnig_tl.measure import paths
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.cuts import log_probability
from culnig_tl.measure.paths import joint_path
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.layout import NeuronLayout

pytestmark = pytest.mark.model


@pytest.mark.parametrize(
    ("f", "shares"),
    [
        # n = (2, 1). By hand: the integral over alpha of n_i df/dn_i at alpha n.
        (lambda n: 3 * n[..., 0] + n[..., 1], (6, 1)),
        (lambda n: n[..., 0] * n[..., 1], (1, 1)),  # AND: 2 alpha, each, of the whole 2
        (lambda n: n[..., 0] * n[..., 1] ** 2, (2 / 3, 4 / 3)),  # of 2: one part to two
        # OR of two that are enough alone: n1 + n2 - n1 n2 = 3 - 2 = 1: 2 - 1 and 1 - 1
        (lambda n: n[..., 0] + n[..., 1] - n[..., 0] * n[..., 1], (1, 0)),
    ],
)
def test_toys_by_hand(monkeypatch, f, shares):
    """log P = f of two neurons, a gate and a value, at one position."""
    model = tiny.bridge("llama")
    layout = layout_of(model)
    neurons = NeuronSet(layout, np.array([0, layout.span(0, "v").start]), "two")
    values = {(0, "gate"): torch.tensor([[2.0]]), (0, "v"): torch.tensor([[1.0]])}

    def scaled(model, prompt, neurons, *, values, alphas, leaves=None):
        n = [v * alphas[:, None, None] for v in values.values()]
        if leaves is not None:
            leaves.update(zip(values, [one.float().requires_grad_() for one in n], strict=True))
            n = list(leaves.values())
        return f(torch.cat([one[:, 0] for one in n], dim=1))

    base = float(f(torch.tensor([2.0, 1.0])))
    monkeypatch.setattr(paths, "_activations", lambda *a: (values, base))
    monkeypatch.setattr(paths, "_scaled", scaled)
    found = joint_path(model, tiny.instances()[0], neurons, steps=3)
    assert found["share"].to_numpy() == pytest.approx(shares, abs=1e-5)
    assert found["share"].sum() == pytest.approx(found["joint"][0], abs=1e-5)


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_shares_add_up_to_the_true_effect(kind, model_class):
    """A set in every layer and site; the joint effect is that of `ablate`."""
    model = tiny.model(kind, model_class)
    layout, instance = layout_of(model), tiny.instances()[0]
    neurons = NeuronSet(layout, np.arange(1, layout.total, 3), "third")
    frame = joint_path(model, instance, neurons, steps=10)
    (prompt,) = make_prompts(tokenizer_of(model), [instance], answer_format="cloze")
    with torch.no_grad():
        before = float(log_probability(model, prompt))
        with ablate(model, neurons):
            after = float(log_probability(model, prompt))
    assert frame["joint"][0] == pytest.approx(before - after, abs=1e-5)
    assert frame["share"].sum() == pytest.approx(before - after, rel=0.02, abs=1e-4)
    assert list(frame["index"]) == list(neurons.frame()["index"])
    few = joint_path(model, instance, neurons, steps=10, token_budget=1)
    np.testing.assert_allclose(few["share"], frame["share"], rtol=1e-3, atol=1e-6)


@pytest.mark.slow  # CI sees it in the notebook on the gradient
@tiny.needs_gemma
def test_shares_add_up_on_gemma():
    """Within 2% with ten nodes, where single first-order effects miss by a factor."""
    model = load_model("gemma-3-270m")
    layout = layout_of(model)
    early = NeuronSet(layout, layout.span(2, "gate").start + np.arange(0, 2048, 4), "early")
    for neurons in (early, select_random(early, seed=0)):
        frame = joint_path(model, load_task("everyday", "test", limit=1)[0], neurons, steps=10)
        assert frame["share"].sum() == pytest.approx(frame["joint"][0], rel=0.02)


@pytest.mark.parametrize(
    ("neurons", "named", "message"),
    [
        (lambda layout: NeuronSet(layout, np.array([], dtype=int), "none"), {}, "set 'none' is em"),
        (
            lambda layout: NeuronSet(
                NeuronLayout(n_layers=1, gate=4, q=1, k=1, v=1), np.array([1]), "other"
            ),
            {},
            "neuron set 'other' is of a model with 7",
        ),
        (lambda layout: NeuronSet(layout, np.array([1])), {"steps": 0}, "steps is 0: give 1"),
    ],
)
def test_what_cannot_be(neurons, named, message):
    model = tiny.bridge("llama")
    with pytest.raises(CulnigError, match=message):
        joint_path(model, tiny.instances()[0], neurons(layout_of(model)), **named)
