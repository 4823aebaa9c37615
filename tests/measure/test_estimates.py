"""The estimates: each against numbers worked by hand, hand-made hooks, and true ablation."""

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError, NeuronSet, attribute, select_general, taylor_check
from culnig_tl.measure.cuts import log_probability
from culnig_tl.measure.taylor import position_shares
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.estimates import ABOUT, ESTIMATES, estimate_points
from culnig_tl.neurons.layout import SITES

pytestmark = pytest.mark.model


def gates(model, layer: int) -> NeuronSet:
    layout = layout_of(model)
    span = layout.span(layer, "gate")
    return NeuronSet(layout, np.arange(span.start, span.stop), "gates")


def prompt_of(model, instance):
    (prompt,) = make_prompts(tokenizer_of(model), [instance], answer_format="cloze")
    return prompt


@pytest.mark.parametrize(
    ("kind", "model_class"), [one for one in tiny.FEWER_MODELS if one[0] != "gemma3"]
)
def test_the_gates_curve_is_exact(kind, model_class):
    """The last layer's gates, whose output is made so small that what follows is linear: first
    order misses by the curve of the activation function, the other by nothing. (Gemma 3 normalises
    that output, so that it is never small.)"""
    model = tiny.model(kind, model_class)
    last = layout_of(model).n_layers - 1
    neurons = gates(model, last)

    def little(post, hook):
        return post * 1e-3

    with model.hooks(fwd_hooks=[(f"blocks.{last}.mlp.hook_post", little)]):
        frame = taylor_check(model, tiny.instances()[:2], neurons, steps=0)
    size = frame["exact"].abs().max()
    assert size > 0
    assert (frame["gate_exact"] - frame["exact"]).abs().max() < 0.05 * size
    assert (frame["first_order"] - frame["exact"]).abs().max() > 0.2 * size


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_gate_exact_by_hand(kind, model_class):
    """h dlogP/dh at the input of the MLP's last projection, from a leaf put there by hand."""
    model, layer = tiny.model(kind, model_class), 1
    prompt = prompt_of(model, tiny.instances()[0])
    leaves = []

    def leaf(post, hook):
        leaves.append(post.detach().requires_grad_())
        return leaves[0]

    hooks = [(f"blocks.{layer}.mlp.hook_post", leaf)]
    (gradient,) = torch.autograd.grad(log_probability(model, prompt, hooks=hooks).sum(), leaves)
    expected = (leaves[0].detach() * gradient)[0].T
    neurons = gates(model, layer)
    shares, _ = position_shares(model, prompt, neurons, estimate="gate_exact")
    np.testing.assert_allclose(shares, expected.numpy(), rtol=1e-4, atol=1e-7)
    scores = attribute(model, tiny.instances()[:1], targets=["log"], estimate="gate_exact")
    found = scores.sums[0, :, 0][:, neurons.ids] * len(prompt.label)
    reduced = [expected.amax(dim=1), expected.mean(dim=1), expected.sum(dim=1)]
    np.testing.assert_allclose(found, torch.stack(reduced).numpy(), rtol=1e-4, atol=1e-7)


def test_of_attention_both_are_the_same():
    model = tiny.bridge("gemma3")
    first = attribute(model, tiny.instances()[:3], targets=["log"])
    exact = attribute(model, tiny.instances()[:3], targets=["log"], estimate="gate_exact")
    attention, gate = (first.layout.ids_of(sites) for sites in (SITES[1:], SITES[:1]))
    np.testing.assert_array_equal(first.sums[..., attention], exact.sums[..., attention])
    assert not np.allclose(first.sums[..., gate], exact.sums[..., gate])
    assert (first.estimate, exact.estimate) == ESTIMATES
    with pytest.raises(CulnigError, match="control's scores are by the estimate gate_exact, expec"):
        select_general(first, exact, None)


def test_scores_that_do_not_say_are_of_first_order():
    scores = attribute(tiny.bridge("llama"), tiny.instances()[:2], targets=["log"])
    del scores.provenance["arguments"]["estimate"]
    assert scores.estimate == "first_order"


def test_unknown_estimate():
    with pytest.raises(CulnigError, match="unknown estimate 'second': choose from first_order, ga"):
        attribute(tiny.bridge("llama"), tiny.instances()[:1], estimate="second")


def test_what_selects_is_the_score_of_one_instance():
    """`taylor_check`'s columns are what `attribute` finds on that instance alone."""
    model = tiny.bridge("llama")
    (instance, *_) = tiny.instances()
    neurons = NeuronSet(layout_of(model), np.arange(0, 336, 5), "some")
    frame = taylor_check(model, [instance], neurons, steps=0)
    for estimate in ESTIMATES:
        scores = attribute(model, [instance], targets=["log"], estimate=estimate)
        expected = scores.mean()[neurons.ids]
        np.testing.assert_allclose(frame[f"score_{estimate}"], expected, rtol=1e-4, atol=1e-7)
    assert frame["nats"].to_numpy() == pytest.approx(
        -np.log1p(-frame["exact"] / frame["probability"]), rel=1e-3, abs=1e-6
    )


def test_every_estimate_is_described():
    assert set(ESTIMATES) < set(ABOUT)
    assert set(estimate_points([(0, site) for site in SITES], "first_order").values()) == {
        "blocks.0.mlp.hook_pre",
        *(f"blocks.0.attn.hook_{site}" for site in "qkv"),
    }
