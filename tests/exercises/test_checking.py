"""The exercises: what is right passes, each usual mistake is told by its name."""

import math

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import exercises
from culnig_tl.analysis.simulation import simulate_study
from culnig_tl.errors import CulnigError
from culnig_tl.exercises import NotYet
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.neurons.lape import ActivationShares
from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.resampling import questions_for

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


def gelu(n):
    return 0.5 * n * (1 + np.tanh(np.sqrt(2 / np.pi) * (n + 0.044715 * n**3)))


def test_wrong_signs():
    def right(n):
        slope = (gelu(n + 1e-5) - gelu(n - 1e-5)) / 2e-5
        return gelu(n) * n * slope < 0

    assert "-0.8" in exercises.wrong_sign(right)
    for mistake, hint in (
        (lambda n: n < 0, "you say that their signs are different"),
        (lambda n: np.zeros(len(n), dtype=bool), "you say that their signs are the same"),
        (lambda n: 0, "expected true or false for each"),
    ):
        with pytest.raises(NotYet) as caught:
            exercises.wrong_sign(mistake)
        assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda f: f(1, 1) - f(0, 0), "that is the joint effect"),
        (lambda f: 2 * f(1, 1) - f(0, 1) - f(1, 0), "that is the sum of the single effects"),
        (lambda f: -together(f), "the sign is the other way"),
        (lambda f: f(1, 1) + f(0, 0) - f(1, 0) - f(0, 1), "is the other neuron at 1"),
        (lambda f: 17.0, "a single one f(1, 1) - f(0, 1)"),
    ],
)
def test_joint_minus_sum(mistake, hint):
    said = exercises.joint_minus_sum(together)
    assert "a + b: +0; a b: -1; max(a, b): +1" in said
    with pytest.raises(NotYet) as caught:
        exercises.joint_minus_sum(mistake)
    assert hint in str(caught.value)


def together(f):
    return f(1, 1) - f(0, 0) - (f(1, 1) - f(0, 1)) - (f(1, 1) - f(1, 0))


@pytest.fixture(scope="module")
def pair(model):
    """Two questions of one length, each with its answer."""
    return exercises.pair_of(model, *tiny.of_one_length())


def log_p(model, prompt, hooks=()):
    return rows(model, prompt, hooks).sum().item()


def preferred(model, pair):
    return log_p(model, pair.other) - log_p(model, pair.base)


def patched(model, pair, layer):
    name = f"blocks.{layer}.mlp.hook_pre"
    _, cache = model.run_with_cache(torch.tensor([pair.source.tokens]))

    def put(activation, hook):
        activation = activation.clone()
        activation[:, : len(pair.source.tokens)] = cache[name]
        return activation

    return log_p(model, pair.other, [(name, put)]) - log_p(model, pair.base, [(name, put)])


@pytest.mark.model
@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda m, p: -preferred(m, p), "the sign is the other way"),
        (lambda m, p: log_p(m, p.source) - log_p(m, p.base), "after the base's question"),
    ],
)
def test_the_preference(model, pair, mistake, hint):
    assert exercises.preference(model, pair, preferred).startswith("Right: D = ")
    with pytest.raises(NotYet) as caught:
        exercises.preference(model, pair, mistake)
    assert hint in str(caught.value)


@pytest.mark.model
@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda m, p, layer: preferred(m, p), "does your hook return what it changed?"),
        (lambda m, p, layer: patched(m, p, layer) - preferred(m, p), "that is how far D moved"),
        (lambda m, p, layer: patched(m, p, 1 - layer), "keep blocks.LAYER.mlp.hook_pre"),
    ],
)
def test_the_patch(model, pair, mistake, hint):
    said = exercises.patched_preference(model, pair, patched, layer=0)
    assert "of the way to the source's own run" in said
    with pytest.raises(NotYet) as caught:
        exercises.patched_preference(model, pair, mistake, layer=0)
    assert hint in str(caught.value)


@pytest.mark.model
def test_pairs_of_two_lengths_are_refused(model):
    short, long = (
        tiny.of_two(cloze, answer, "wine")
        for cloze, answer in (("eat rice", "tea"), ("eat rice bread", "rice"))
    )
    with pytest.raises(CulnigError, match="2 and 3 tokens: take a pair of one length"):
        exercises.pair_of(model, short, long)


Z = 1.6449 + 0.8416


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda loss, s: (1.6449 * s / loss) ** 2, "add the z of 80%"),
        (lambda loss, s: ((1.96 + 0.8416) * s / loss) ** 2, "a loss has one side"),
        (lambda loss, s: Z * s / loss, "square it"),
        (lambda loss, s: 100, "the mean of n questions spreads by"),
    ],
)
def test_how_many_questions(mistake, hint):
    said = exercises.questions_needed(lambda loss, s: math.ceil((Z * s / loss) ** 2))
    assert said == f"Right: {questions_for(0.05)} questions for a loss of five points."
    with pytest.raises(NotYet) as caught:
        exercises.questions_needed(mistake)
    assert hint in str(caught.value)


SHARES = ActivationShares(
    layout=NeuronLayout(n_layers=1, gate=4, q=2, k=1, v=1),
    groups=("fa", "zh"),
    tokens=(10, 20),
    active=np.array([[5, 10, 0, 0], [0, 20, 4, 0]]),
    provenance={},
)


def entropies(values):
    p = values / values.sum(axis=0)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=0)


@pytest.mark.parametrize(
    ("mistake", "hint"),
    [
        (lambda v: -entropies(v), "the sign is the other way"),
        (lambda v: entropies(v) / np.log(2), "that is in bits"),
        (lambda v: -(v * np.log(np.where(v > 0, v, 1))).sum(axis=0), "do not sum to 1 yet"),
        (lambda v: v * np.nan, "sum over the groups"),
        (lambda v: v.sum(axis=0) * np.nan, "0 log 0 counts as 0"),
        (lambda v: v.sum(axis=0), "divided by the sum over the groups"),
    ],
)
def test_the_entropy(mistake, hint):
    said = exercises.entropy(SHARES, entropies)
    assert said.startswith("Right: 3 entropies, from ")
    with pytest.raises(NotYet) as caught:
        exercises.entropy(SHARES, mistake)
    assert hint in str(caught.value)


WORDS = "hammer plane oven flour sail anchor syringe thermometer whisk rope bandage dough".split()


def csv(groups=("nurse", "baker", "sailor"), each=4, words=WORDS):
    rows = ["question,group,answer"]
    for place, group in enumerate(groups):
        for number in range(each):
            said = words[(place * each + number) % len(words)]
            rows.append(f"What does a {group} use on day {number}?,{group},{said}")
    return "\n".join(rows)


def test_questions_of_your_own():
    said = exercises.own_questions(csv)
    assert said.startswith("Right: 12 questions about 3 groups in mine.csv: ")
    assert "nothing is called significant" in said
    for mistake, hint in (
        (lambda: csv(each=2), "nurse has 2 questions, expected 4 or more"),
        (lambda: csv(groups=("nurse", "baker")), "2 groups, expected 3 or more"),
        (lambda: csv(words=[""]), "mine.csv, row 1: column 'answer' is empty"),
        (lambda: [], "you gave list, expected the text of a CSV file"),
    ):
        with pytest.raises(NotYet) as caught:
            exercises.own_questions(mistake)
        assert hint in str(caught.value)
        assert "/" not in str(caught.value).split(":")[0]
