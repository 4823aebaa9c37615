"""The token view: its numbers, and that it asks nothing of a network."""

import json
import re

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError, NeuronSet
from culnig_tl.measure.cuts import log_probability
from culnig_tl.measure.taylor import position_scores
from culnig_tl.measure.token_view import token_attribution
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.layout import Neuron

pytestmark = pytest.mark.model


def test_tokens_and_layers():
    model, instance = tiny.bridge("llama"), tiny.instances()[0]
    layout = layout_of(model)
    neurons = NeuronSet.of(layout, [Neuron(0, "gate", 3), Neuron(2, "q", 2), Neuron(2, "v", 1)])
    view = token_attribution(model, instance, neurons)
    assert view._repr_html_() == view
    assert "unpkg" not in view
    labels = re.search(r'"labels": (\[[^]]*\])', view)
    assert labels is not None
    assert json.loads(labels[1]) == ["all layers", "layer 0", "layer 2"]
    values = re.search(r'"values": (\[\[.*?\]\])', view, re.S)
    assert values is not None
    found = np.array(json.loads(values[1]))
    (prompt,) = make_prompts(tokenizer_of(model), [instance])
    with torch.no_grad():
        probability = float(log_probability(model, prompt).exp())
    scores = position_scores(model, prompt, neurons) / probability
    np.testing.assert_allclose(found[:, 0], scores.sum(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], scores[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[:, 2], scores[1:].sum(axis=0), rtol=1e-4, atol=1e-6)


def test_an_empty_set():
    model = tiny.bridge("llama")
    empty = NeuronSet.of(layout_of(model), [])
    with pytest.raises(CulnigError, match="is empty: there is nothing to colour"):
        token_attribution(model, tiny.instances()[0], empty)
