"""Exact effects against ablation one neuron a call; the integral against what it must be."""

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from culnig_tl import CulnigError, NeuronSet, attribute, load_model, load_task
from culnig_tl.measure import cuts, effects, taylor
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.cuts import log_probability
from culnig_tl.measure.effects import exact_effects
from culnig_tl.measure.set_effects import dose_response, interaction
from culnig_tl.measure.taylor import position_scores, taylor_check
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.prompts import Prompt, make_prompts
from culnig_tl.neurons.layout import SITES, Neuron, NeuronLayout, hook_name

pytestmark = pytest.mark.model
MULTI_TOKEN = 1  # this tiny instance's answer has two tokens


def some(model, per_site: int = 3) -> NeuronSet:
    """A few neurons of every site and layer."""
    layout = layout_of(model)
    rng = np.random.default_rng(0)
    return NeuronSet.of(
        layout,
        [
            Neuron(layer, site, int(index))
            for layer in range(layout.n_layers)
            for site in SITES
            for index in rng.choice(layout.size(site), per_site, replace=False)
        ],
        "some",
    )


def by_run_with_hooks(model, prompt, neuron, position=None) -> float:
    """P(y|x) with one neuron at 0, by one call of `run_with_hooks` over all logits."""
    tokens = torch.tensor([prompt.tokens + prompt.label])

    def zero(activation, hook):
        flat = activation.flatten(2).clone()
        flat[:, slice(None) if position is None else position, neuron.index] = 0
        return flat.view(activation.shape)

    name = hook_name(neuron.layer, neuron.site)
    with torch.no_grad():
        logits = model.run_with_hooks(tokens, fwd_hooks=[(name, zero)])[0].log_softmax(-1)
    start = len(prompt.tokens)
    return float(sum(logits[start - 1 + i, y] for i, y in enumerate(prompt.label)).exp())


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
@pytest.mark.parametrize("positions", ["all", "each"])
def test_exact_effects_equal_run_with_hooks(kind, model_class, positions):
    model, instance = tiny.model(kind, model_class), tiny.instances()[MULTI_TOKEN]
    neurons = some(model, 1)
    (prompt,) = make_prompts(tokenizer_of(model), [instance])
    assert len(prompt.label) > 1
    frame = exact_effects(model, instance, neurons, positions=positions, token_budget=60)
    width = len(prompt.tokens) + len(prompt.label) - 1
    assert len(frame) == len(neurons) * (1 if positions == "all" else width)
    # Every seventh of many: each takes a pass of its own here.
    for row in frame.iloc[:: 1 if positions == "all" else 7].itertuples():
        position = None if positions == "all" else row.position
        neuron = Neuron(row.layer, row.site, row.index)
        expected = by_run_with_hooks(model, prompt, neuron, position)
        assert row.probability - row.exact == pytest.approx(expected, abs=1e-5, rel=1e-4)
    assert frame["exact"].abs().max() > 1e-6


@tiny.needs_gemma
@pytest.mark.gemma
@pytest.mark.slow
def test_exact_effects_on_gemma():
    model = load_model(device="cpu")
    instance = load_task("everyday", "neuron", limit=1)[0]
    layout = layout_of(model)
    chosen = [Neuron(2, "gate", 7), Neuron(3, "q", 100), Neuron(9, "k", 5), Neuron(0, "v", 50)]
    neurons = NeuronSet.of(layout, chosen)
    (prompt,) = make_prompts(tokenizer_of(model), [instance])
    frame = exact_effects(model, instance, neurons)
    for row, neuron in zip(frame.itertuples(), neurons, strict=True):
        expected = by_run_with_hooks(model, prompt, neuron)
        assert row.probability - row.exact == pytest.approx(expected, abs=1e-5)
    # The integral's completeness: within 1% of the exact effect.
    whole = taylor_check(model, [instance], NeuronSet.of(layout, chosen[:1]), steps=64)
    assert abs(whole["exact"][0]) > 1e-4 * whole["probability"][0]
    assert whole["integrated"][0] == pytest.approx(whole["exact"][0], rel=0.01)


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_the_integral_is_complete(kind, model_class):
    model = tiny.model(kind, model_class)
    check_complete(taylor_check(model, tiny.instances()[1:3], some(model, 1), steps=64))


def test_the_integral_is_complete_at_each_position():
    model = tiny.bridge("gemma3")
    check_complete(
        taylor_check(model, tiny.instances()[1:2], some(model, 1), positions="each", steps=16)
    )


def check_complete(frame):
    error = (frame["integrated"] - frame["exact"]).abs()
    assert (error < 0.01 * frame["exact"].abs() + 1e-7).all()


def toy(power: int, n: torch.Tensor, slope: float):
    """In place of a model: P = 1 + slope * sum of n ** power over positions; n is [1, pos]."""

    def stacked(model, prompt, cuts, change, copies=1):
        if change is None:
            return (1 + slope * (n**power).sum(dim=1)).log()
        rows = torch.arange(len(cuts) * copies)
        changed = change((0, "gate"), rows, n.expand(len(rows), -1))
        return (1 + slope * (torch.cat([changed, n]) ** power).sum(dim=1)).log()

    return stacked


@pytest.mark.parametrize(
    ("power", "first", "truth"),
    [
        # n = 2, 1.5, 0.5, -0.5: their sum is 3.5, the sum of their squares 6.75.
        (1, 0.35, 0.35),  # P = 1 + 0.1 sum n: first order is the truth
        (2, 1.35, 0.675),  # P = 1 + 0.1 sum n^2: n dP/dn = 0.2 n^2, 0.675 more than the truth
    ],
)
def test_toys_by_hand(monkeypatch, power, first, truth):
    n = torch.tensor([[2.0, 1.5, 0.5, -0.5]], dtype=torch.float64)
    for module in (cuts, taylor):
        monkeypatch.setattr(module, "stacked", toy(power, n, 0.1))
    frame = pd.DataFrame({"layer": [0], "site": ["gate"], "index": [0], "position": [-1]})
    prompt = Prompt(tiny.instances()[0], (1,), ((2,), (3,), (4,), (5,)))
    (exact,) = cuts.effects_in(cuts.ablated(None, prompt, frame))["exact"]
    assert exact == pytest.approx(truth)
    for steps in (1, 4, 64):
        assert taylor._integrated(None, prompt, frame, steps=steps)[0] == pytest.approx(truth)
    leaf = n.clone().requires_grad_()
    toy(power, leaf, 0.1)(None, None, frame[:0], None).exp().backward()
    assert float((leaf.detach() * leaf.grad).sum()) == pytest.approx(first)


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_first_order_is_what_attribute_sums(kind, model_class):
    model, instances = tiny.model(kind, model_class), tiny.instances()[:4]
    neurons = some(model)
    for instance in instances:
        frame = taylor_check(model, [instance], neurons, steps=0)
        scores = attribute(model, [instance], targets=["product"])
        found = frame["first_order"] * frame["probability"]
        expected = scores.mean(variant="norm")[neurons.ids]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * abs(expected).max())
        (prompt,) = make_prompts(tokenizer_of(model), [instance])
        each = position_scores(model, prompt, neurons) * frame["probability"].iloc[0]
        highest = scores.mean(variant="max")[neurons.ids]
        np.testing.assert_allclose(
            each.max(axis=1), highest, rtol=1e-3, atol=1e-5 * abs(highest).max()
        )


def test_each_position_names_its_token():
    model, instance = tiny.bridge("llama"), tiny.instances()[0]
    one = NeuronSet.of(layout_of(model), [Neuron(1, "gate", 5)])
    frame = taylor_check(model, [instance], one, positions="each", steps=2)
    assert " ".join(frame["token"]).startswith("Question : what do people in iran")
    assert list(frame["position"]) == list(range(len(frame)))
    assert set(frame["group"]) == {"Iran"}


@pytest.fixture(scope="module")
def jointly():
    """A model, three instances, some neurons' effects on each, and those of all at once."""
    model, instances = tiny.bridge("llama"), tiny.instances()[:3]
    known = taylor_check(model, instances, some(model), steps=0)
    return model, instances, known, interaction(model, instances, some(model))


def test_interaction_of_one_neuron_is_additive():
    model, instances = tiny.bridge("llama"), tiny.instances()[:3]
    one = NeuronSet.of(layout_of(model), [Neuron(1, "gate", 5)], "one")
    frame = interaction(model, instances, one)
    assert list(frame["instance"]) == [i.id for i in instances]
    np.testing.assert_allclose(frame["singles"], frame["joint"], atol=1e-6)
    np.testing.assert_allclose(frame["singles_nats"], frame["joint_nats"], atol=1e-5)


def test_interaction_of_many_neurons_is_not_additive(jointly):
    many = jointly[-1]
    assert (many["singles"] - many["joint"]).abs().max() > 1e-5


def test_the_joint_effect_is_that_of_ablating_the_set(jointly):
    model, instances, _, many = jointly
    (prompt,) = make_prompts(tokenizer_of(model), instances[:1])
    with torch.no_grad(), ablate(model, some(model)):
        masked = float(log_probability(model, prompt).exp())
    assert many["joint"][0] == pytest.approx(many["probability"][0] - masked, abs=1e-6)
    in_nats = np.log(many["probability"][0] / masked)
    assert many["joint_nats"][0] == pytest.approx(in_nats, abs=1e-5)


@pytest.mark.parametrize("order", ["as measured", "mixed"])
def test_known_effects_are_not_measured_again(jointly, order):
    """Rows are known by instance and neuron, in whatever order."""
    model, instances, known, many = jointly
    given = known if order == "as measured" else known.sample(frac=1.0, random_state=0)
    found = interaction(model, instances, some(model), effects=given)
    pd.testing.assert_frame_equal(found, many)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda known: known.iloc[1:],
            "these effects do not hold all of 'some' on all 3",
            id="one is missing",
        ),
        pytest.param(
            lambda known: known.assign(instance=known["instance"].replace({"tiny-1": "tiny-9"})),
            r"do not hold all of 'some' on all 3 instances, 'tiny-1' first: leave them out",
            id="of another instance",
        ),
        pytest.param(
            lambda known: pd.concat([known, known.iloc[-1:]]),
            "these effects hold instance 'tiny-2' twice: keep",
            id="one twice",
        ),
        pytest.param(
            lambda known: known.assign(position=0),
            "these effects are of single positions: take those of pos",
            id="of single positions",
        ),
        pytest.param(
            lambda known: known.drop(columns="exact"),
            "no column 'exact' in these effects: they have layer, ",
            id="without a column",
        ),
        pytest.param(
            lambda known: known.assign(exact=np.nan),
            "exact of 'tiny-0' is nan in these effects",
            id="not a number",
        ),
    ],
)
def test_known_effects_that_are_not_those_of_the_set(jointly, change, message):
    model, instances, known, _ = jointly
    with pytest.raises(CulnigError, match=message):
        interaction(model, instances, some(model), effects=change(known))


def test_interaction_of_an_instance_given_twice(jointly):
    model, instances, known, _ = jointly
    with pytest.raises(CulnigError, match="two instances have the id 'tiny-1': give each once"):
        interaction(model, [*instances, instances[1]], some(model), effects=known)


def test_a_probability_lost_in_rounding_has_finite_nats(jointly):
    model, instances, known, _ = jointly
    gone = known.assign(probability=0.9, exact=0.9)  # P(n = 0) is lost in rounding
    found = interaction(model, instances, some(model), effects=gone)
    assert found["singles_nats"][0] == pytest.approx(36.737 * len(some(model)), abs=0.1)


def test_dose_of_one_changes_nothing():
    from culnig_tl import evaluate

    model, instances = tiny.bridge("llama"), tiny.instances()
    frame = dose_response(model, instances, some(model), factors=(0, 1, 2))
    plain = evaluate(model, instances)
    assert frame["probability"][1] == pytest.approx(plain["probability"].mean())
    assert frame["accuracy"][1] == plain["correct"].mean()
    assert frame["probability"].nunique() == 3


def test_a_dose_response_of_no_factors():
    model = tiny.bridge("llama")
    with pytest.raises(CulnigError, match="no factors: give one or more"):
        dose_response(model, tiny.instances(), some(model), factors=())


def test_exact_effects_resume(tmp_path, monkeypatch):
    model, instance = tiny.bridge("llama"), tiny.instances()[0]
    neurons, path = some(model), tmp_path / "c.safetensors"
    whole = exact_effects(model, instance, neurons, token_budget=60)
    real, calls = effects.ablated, []

    def stops(*args):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(effects, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(effects, "ablated", stops)
    with pytest.raises(KeyboardInterrupt):
        exact_effects(model, instance, neurons, token_budget=60, checkpoint=path)
    calls[:] = [1] * 5
    resumed = exact_effects(model, instance, neurons, token_budget=60, checkpoint=path)
    pd.testing.assert_frame_equal(resumed, whole)
    assert len(calls) < 5 + len(neurons) / 2
    with pytest.raises(CulnigError, match="belongs to another run"):
        exact_effects(model, tiny.instances()[1], neurons, token_budget=60, checkpoint=path)


def test_taylor_check_resumes_by_instance(tmp_path, monkeypatch):
    model, instances = tiny.bridge("llama"), tiny.instances()[:3]
    neurons = some(model, 1)
    first = taylor_check(model, instances[:2], neurons, steps=2, checkpoint=tmp_path)
    real, seen = taylor._check_one, []
    monkeypatch.setattr(taylor, "_check_one", lambda *a, **k: seen.append(a[1].id) or real(*a, **k))
    again = taylor_check(model, instances, neurons, steps=2, checkpoint=tmp_path)
    assert seen == [instances[2].id]
    pd.testing.assert_frame_equal(again.iloc[: len(first)], first)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, i, n: exact_effects(m, i, n, positions="some"),
            "unknown positions 'some': choose from",
        ),
        (lambda m, i, n: taylor_check(m, [i], n, steps=-1), "steps is -1: give 0"),
        (lambda m, i, n: taylor_check(m, [], n), "no instances: load a task first"),
        (
            lambda m, i, n: exact_effects(
                m, i, NeuronSet(NeuronLayout(n_layers=1, gate=4, q=1, k=1, v=1), np.array([1]))
            ),
            "is of a model with 7 neurons .*, this one has 336",
        ),
        (
            lambda m, i, n: exact_effects(m, i, NeuronSet(n.layout, np.array([], dtype=np.int64))),
            "is empty: there is no effect to measure",
        ),
    ],
)
def test_mistakes(call, message):
    model = tiny.bridge("llama")
    with pytest.raises(CulnigError, match=message):
        call(model, tiny.instances()[0], some(model))


@pytest.mark.model
@pytest.mark.parametrize("content", [b"", b"no parquet at all"])
def test_a_damaged_file_of_finished_effects(tmp_path, content):
    model, instances = tiny.bridge("llama"), tiny.instances()[:1]
    neurons = NeuronSet.of(layout_of(model), [Neuron(0, "gate", 3)])
    taylor_check(model, instances, neurons, steps=0, checkpoint=tmp_path)
    (file,) = tmp_path.glob("*.parquet")
    file.write_bytes(content)
    with pytest.raises(CulnigError, match=r"\.parquet is damaged \(.*\): delete it and give the"):
        taylor_check(model, instances, neurons, steps=0, checkpoint=tmp_path)
