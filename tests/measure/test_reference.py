"""Other prompts' activations in the place of a set's own, against hand-made hooks."""

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError, NeuronSet, evaluate
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.reference import reference_activations
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.layout import Neuron, NeuronLayout, hook_name

pytestmark = pytest.mark.model
SOME = [Neuron(0, "gate", 3), Neuron(1, "gate", 5), Neuron(1, "q", 2), Neuron(2, "v", 1)]


def set_of(model) -> NeuronSet:
    return NeuronSet.of(layout_of(model), SOME, "some")


def run(model, sequences: list[tuple[int, ...]], hooks) -> dict[Neuron, list[torch.Tensor]]:
    """The activations of `SOME` in each sequence, one pass a sequence: [pos]."""
    found: dict[Neuron, list[torch.Tensor]] = {neuron: [] for neuron in SOME}

    def keep(neuron: Neuron):
        def hook_function(activation, hook):
            found[neuron].append(activation.flatten(2)[0, :, neuron.index].clone())

        return hook_function

    own = [(hook_name(n.layer, n.site), keep(n)) for n in SOME]
    for sequence in sequences:
        with torch.no_grad(), model.hooks(fwd_hooks=[*hooks, *own]):
            model(torch.tensor([sequence]))
    return found


def sequences_of(model, instances) -> list[tuple[int, ...]]:
    made = make_prompts(tokenizer_of(model), instances, answer_format="cloze")
    return list(dict.fromkeys(prompt.tokens for prompt in made))


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_the_mean_is_over_all_positions(kind, model_class):
    model, instances = tiny.model(kind, model_class), tiny.instances()
    reference = reference_activations(model, instances, token_budget=30)
    found = run(model, sequences_of(model, instances), [])
    for neuron in SOME:
        expected = float(torch.cat(found[neuron]).mean())
        mean = reference.mean[neuron.layer, neuron.site][neuron.index]
        assert float(mean) == pytest.approx(expected, abs=1e-6)
    with ablate(model, set_of(model), values="mean", reference=reference):
        inside = run(model, sequences_of(model, instances)[:2], [])
    for neuron in SOME:
        mean = reference.mean[neuron.layer, neuron.site][neuron.index]
        for values in inside[neuron]:
            assert values.numpy() == pytest.approx(float(mean), abs=1e-6)


@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
@pytest.mark.parametrize("values", ["mean", "resample"])
def test_answers_as_by_hand(kind, model_class, values):
    """P of a one-token answer with the values put in place by hooks written here."""
    model, instances = tiny.model(kind, model_class), tiny.instances()[:1]
    reference = reference_activations(model, tiny.instances()[2:], rows=7)
    (prompt,) = make_prompts(tokenizer_of(model), instances, answer_format="cloze")
    tokens = torch.tensor([prompt.tokens])
    rows = reference.rows_of(tokens)[0]

    def put(neuron: Neuron):
        key = neuron.layer, neuron.site

        def hook_function(activation, hook):
            flat = activation.flatten(2).clone()
            new = reference.mean[key] if values == "mean" else reference.drawn[key][rows]
            flat[0, :, neuron.index] = new[..., neuron.index]
            return flat.view(activation.shape)

        return hook_function

    with torch.no_grad():
        logits = model.run_with_hooks(
            tokens, fwd_hooks=[(hook_name(n.layer, n.site), put(n)) for n in SOME]
        )
        with ablate(model, set_of(model), values=values, reference=reference):
            inside = model(tokens)
        plain = model(tokens)
    np.testing.assert_allclose(inside[0, -1], logits[0, -1], atol=1e-5)
    assert not np.allclose(inside[0, -1], plain[0, -1], atol=1e-5)
    np.testing.assert_allclose(model(tokens).detach(), plain, atol=1e-6)  # the hooks are gone


@pytest.mark.parametrize("values", ["mean", "resample"])
def test_answers_do_not_depend_on_the_batch(values):
    model, instances = tiny.bridge("llama"), tiny.instances()
    reference = reference_activations(model, instances, rows=5)
    how = {"values": values, "reference": reference}
    together = evaluate(model, instances, set_of(model), **how)
    apart = evaluate(model, instances, set_of(model), token_budget=1, **how)
    np.testing.assert_allclose(together["probability"], apart["probability"], rtol=1e-4)
    zero = evaluate(model, instances, set_of(model))
    assert not np.allclose(together["probability"], zero["probability"], rtol=1e-4)


def test_the_beginning_of_a_text_keeps_its_own():
    """With a token for it, which is the first of every prompt."""
    model, instances = tiny.bridge("llama"), tiny.instances()
    sequences = sequences_of(model, instances)
    tokenizer_of(model).bos_token = tokenizer_of(model).convert_ids_to_tokens(sequences[0][0])
    try:
        reference = reference_activations(model, instances, rows=5)
        begin = reference.begin
        assert begin == sequences[0][0]
        plain = run(model, sequences[:1], [])
        with ablate(model, set_of(model), values="mean", reference=reference):
            inside = run(model, sequences[:1], [])
        own = torch.tensor(sequences[0]) == begin
        first = SOME[0]
        assert torch.equal(inside[first][0][own], plain[first][0][own])
        assert not torch.allclose(inside[first][0][~own], plain[first][0][~own])
    finally:
        tokenizer_of(model).bos_token = None


def test_rows_are_told_by_all_tokens_before():
    reference = reference_activations(tiny.bridge("llama"), tiny.instances(), rows=40)
    one, other = (reference.rows_of(torch.tensor([t]))[0] for t in ([5, 6, 7], [9, 6, 7]))
    assert not torch.equal(one[-1:], other[-1:])
    padded = reference.rows_of(torch.tensor([[reference.padding, 5, 6, 7]]))[0]
    assert torch.equal(padded[1:], one)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"values": "median"}, "unknown values 'median': choose from zero, mean, resample"),
        ({"values": "mean"}, "values 'mean' need a reference: give reference=reference_activ"),
        ({"values": "mean", "factor": 2.0}, "factor 2.0 beside values 'mean': give one of them"),
    ],
)
def test_what_cannot_be(named, message):
    model = tiny.bridge("llama")
    with pytest.raises(CulnigError, match=message), ablate(model, set_of(model), **named):
        pass


def test_a_reference_of_another_model():
    from dataclasses import replace

    model = tiny.bridge("llama")
    reference = reference_activations(model, tiny.instances(), rows=3)
    other = replace(reference, layout=NeuronLayout(n_layers=1, gate=4, q=1, k=1, v=1))
    with (
        pytest.raises(CulnigError, match="the reference is of a model with 7 neurons"),
        ablate(model, set_of(model), values="mean", reference=other),
    ):
        pass
