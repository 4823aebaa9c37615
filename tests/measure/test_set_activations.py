"""A set's activations at every position, against the cache of TransformerLens, prompt by prompt."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError, NeuronSet
from culnig_tl.measure.set_activations import set_activations
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.layout import hook_name

pytestmark = pytest.mark.model


@pytest.mark.parametrize(("kind", "model_class"), tiny.MODELS)
def test_against_the_cache(kind, model_class):
    model = tiny.model(kind, model_class)
    layout = layout_of(model)
    ids = np.random.default_rng(0).choice(layout.total, 40, replace=False)
    neurons = NeuronSet(layout, ids, "some")
    instances = tiny.instances()
    found = set_activations(model, instances, neurons, answer_format="cloze", token_budget=40)
    made = make_prompts(tokenizer_of(model), instances, answer_format="cloze")
    prompts = list({p.tokens: p for p in reversed(made)}.values())[::-1]  # the first of each
    assert found.prompts["instance"].tolist() == [p.instance.id for p in prompts]
    for row, prompt in enumerate(prompts):
        _, cache = model.run_with_cache(torch.tensor([prompt.tokens]))
        where = found.prompt(row)
        decoded = [tokenizer_of(model).decode([token]) for token in prompt.tokens]
        assert list(found.tokens[where]) == decoded
        for column, neuron in enumerate(neurons):
            literal = cache[hook_name(neuron.layer, neuron.site)][0].flatten(1)[:, neuron.index]
            np.testing.assert_allclose(
                found.values[where, column], literal.detach().numpy(), atol=1e-5
            )


def test_the_same_prompt_is_one_row():
    model = tiny.model(*tiny.FEWER_MODELS[0])
    first, *rest = tiny.instances(4)
    again = replace(first, id="again", options=first.options[::-1], answer=0)
    neurons = NeuronSet(layout_of(model), np.array([3]), "one")
    found = set_activations(model, [first, again, *rest], neurons, answer_format="cloze")
    assert found.prompts["instance"].tolist() == [i.id for i in (first, *rest)]


def test_what_is_refused():
    model = tiny.model(*tiny.FEWER_MODELS[0])
    layout = layout_of(model)
    with pytest.raises(CulnigError, match="'none' is empty: there is nothing to look at"):
        set_activations(model, tiny.instances(), NeuronSet(layout, np.array([], int), "none"))
    with pytest.raises(CulnigError, match="no instances: load a task first"):
        set_activations(model, [], NeuronSet(layout, np.array([3]), "one"))
    other = NeuronSet(replace(layout, gate=layout.gate + 1), np.array([3]), "other")
    with pytest.raises(CulnigError, match="other"):
        set_activations(model, tiny.instances(), other)
