"""The exercises: what is right passes, each usual mistake is told by its name."""

import math

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import exercises
from culnig_tl.analysis.simulation import simulate_study
from culnig_tl.exercises import NotYet
from culnig_tl.measure.evaluation import evaluate

NEURON = (1, "gate", 3)


@pytest.fixture(scope="module")
def model():
    return tiny.bridge("llama")


@pytest.fixture(scope="module")
def prompt(model):
    """A question with an answer of several tokens."""
    found = (exercises.prompt_of(model, one) for one in tiny.instances())
    return max(found, key=lambda prompt: len(prompt.label))


def rows(model, prompt, hooks=()):
    logits = model.run_with_hooks(torch.tensor([prompt.sequence]), fwd_hooks=list(hooks))[0]
    first = len(prompt.tokens) - 1
    logs = logits[first : first + len(prompt.label)].log_softmax(dim=-1)
    return logs[range(len(prompt.label)), list(prompt.label)]


def whole(model, prompt):
    return rows(model, prompt).sum().exp().item()


def without(model, prompt, neuron):
    def set_to_0(activation, hook):
        activation = activation.clone()
        activation[:, :, neuron.index] = 0
        return activation

    name = f"blocks.{neuron.layer}.mlp.hook_pre"
    return rows(model, prompt, [(name, set_to_0)]).sum().exp().item()


def scores(model, prompt, layer, of=lambda logs: logs.sum().exp()):
    kept = []

    def keep(activation, hook):
        kept.append(activation.detach().requires_grad_())
        return kept[0]

    value = of(rows(model, prompt, [(f"blocks.{layer}.mlp.hook_pre", keep)]))
    (gradient,) = torch.autograd.grad(value, kept)
    return (kept[0] * gradient)[0]


@pytest.mark.model
def test_right_answers(model, prompt):
    assert exercises.answer_probability(model, prompt, whole).startswith("Right: P(y|x) = ")
    assert exercises.ablate_one(model, prompt, without, neuron=NEURON).startswith("Right: without")
    assert exercises.first_order(model, prompt, scores, layer=1).startswith("Right: ")


@pytest.mark.model
@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda m, p: rows(m, p).sum().item(), "that is its logarithm: take exp"),
        (lambda m, p: rows(m, p).mean().exp().item(), "that is the mean per token"),
        (lambda m, p: rows(m, p).mean().item(), "that is the mean logarithm"),
        (lambda m, p: 12.5, "a probability is at most 1"),
        (lambda m, p: 0.5, "each token of the answer is predicted at the position before it"),
        (lambda m, p: None, "your function returned nothing"),
        (lambda m, p: rows(m, p), "expected one number"),
        (lambda m, p: "x", "P(y|x) is str, expected one number"),
    ],
)
def test_mistakes_with_the_probability(model, prompt, mistake, hint):
    assert len(prompt.label) > 1
    with pytest.raises(NotYet) as caught:
        exercises.answer_probability(model, prompt, mistake)
    assert hint in str(caught.value)


@pytest.mark.model
@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda m, p, n: whole(m, p), "that is P with nothing changed"),
        (lambda m, p, n: whole(m, p) - without(m, p, n), "that is the effect, P(n) - P(n = 0)"),
        (
            lambda m, p, n: without(m, p, n._replace(index=4)),
            "set the neuron to 0 at all positions",
        ),
    ],
)
def test_mistakes_with_the_ablation(model, prompt, mistake, hint):
    with pytest.raises(NotYet) as caught:
        exercises.ablate_one(model, prompt, mistake, neuron=NEURON)
    assert hint in str(caught.value)


@pytest.mark.model
@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda m, p, layer: scores(m, p, layer, of=torch.sum), "the gradient is of log P"),
        (lambda m, p, layer: -scores(m, p, layer), "the sign is the other way"),
        (lambda m, p, layer: scores(m, p, layer).T, "a row a position, a column a neuron"),
        (lambda m, p, layer: 0 * scores(m, p, layer), "multiply each activation by the gradient"),
    ],
)
def test_mistakes_with_the_gradient(model, prompt, mistake, hint):
    with pytest.raises(NotYet) as caught:
        exercises.first_order(model, prompt, mistake, layer=1)
    assert hint in str(caught.value)


VALUES = np.random.default_rng(0).normal(size=101)


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda v, s: np.argsort(v)[: int(s * len(v))], "sorted from the highest down"),
        (lambda v, s: np.argsort(-v)[: math.ceil(s * len(v))], "is 10.1, rounded down"),
        (lambda v, s: np.sort(v)[-10:], "give the places of the highest values, not the values"),
    ],
)
def test_the_highest_share(mistake, hint):
    right = exercises.top_share(VALUES, 0.1, lambda v, s: np.argsort(-v)[: int(s * len(v))])
    assert right == "Right: the 10 highest of 101."
    with pytest.raises(NotYet) as caught:
        exercises.top_share(VALUES, 0.1, mistake)
    assert hint in str(caught.value)


def bootstrap(masked, random):
    rng = np.random.default_rng(5)
    beyond = np.mean([frame["correct"] for frame in random], axis=0) - masked["correct"]
    drawn = rng.integers(len(beyond), size=(2000, len(beyond)))
    return (np.sum(beyond.to_numpy()[drawn].mean(axis=1) <= 0) + 1) / 2001


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_the_p_value(loss):
    original, masked, random = simulate_study(loss=loss, seed=1, questions=200)
    said = exercises.p_value((original, masked, random), bootstrap)
    assert said.startswith("Right: p = ")
    for mistake, hint in (
        (lambda m, r: 0.0, r"take (k + 1) / (n + 1)"),
        (lambda m, r: 2.0, "from 0 to 1"),
    ):
        with pytest.raises(NotYet) as caught:
            exercises.p_value((original, masked, random), mistake)
        assert hint in str(caught.value)


@pytest.mark.model
def test_a_hook_that_stays_is_told(model, prompt):
    def forgetful(model, prompt, neuron):
        found = without(model, prompt, neuron)
        model.add_hook("blocks.1.mlp.hook_pre", lambda activation, hook: activation * 0)
        return found

    try:
        with pytest.raises(NotYet, match="the hook is still there"):
            exercises.ablate_one(model, prompt, forgetful, neuron=NEURON)
    finally:
        model.reset_hooks()
    assert whole(model, prompt) == pytest.approx(
        evaluate(model, [prompt.instance], answer_format="cloze")["probability"].item(), rel=1e-4
    )
