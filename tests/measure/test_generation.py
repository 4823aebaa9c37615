"""Generation against greedy decoding of one sequence without a cache, under the same hooks."""

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.generation import end_tokens, generate
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.neurons.selection import select_random
from culnig_tl.neurons.sets import NeuronSet

pytestmark = pytest.mark.model
TEXTS = ("what do people in iran eat for lunch ?", "tea", "people in spain drink wine and coffee .")


def without_cache(model, sequence, neurons, count, ends) -> list[int]:
    tokens = list(sequence)
    with torch.no_grad(), ablate(model, neurons):
        for _ in range(count):
            token = int(model(torch.tensor([tokens]))[0, -1].argmax())
            if token in ends:
                break
            tokens.append(token)
    return tokens[len(sequence) :]


@pytest.mark.parametrize(("kind", "model_class"), tiny.MODELS)
def test_equals_greedy_decoding_without_a_cache(kind, model_class, monkeypatch):
    model = tiny.model(kind, model_class)
    tokenizer = tokenizer_of(model)
    sequences = [tokenizer(text)["input_ids"] for text in TEXTS]
    some = select_random(NeuronSet(layout_of(model), np.arange(60)), 0)
    plain = [without_cache(model, s, None, 12, set()) for s in sequences]
    # A token that the second writes in the middle and the others may write elsewhere ends a text.
    ends = {plain[1][5]}
    monkeypatch.setattr("culnig_tl.measure.generation.end_tokens", lambda model: ends)
    for neurons in (None, some):
        expected = [without_cache(model, s, neurons, 12, ends) for s in sequences]
        for budget in (10_000, 1):
            found = generate(model, sequences, neurons, max_new_tokens=12, token_budget=budget)
            assert found == expected
    masked = [without_cache(model, s, some, 12, set()) for s in sequences]
    assert masked != plain


def test_stops():
    model = tiny.bridge("llama")
    tokenizer = tokenizer_of(model)
    assert end_tokens(model) == {tokenizer.eos_token_id}
    (whole,) = generate(model, [[5, 6]], max_new_tokens=8)
    assert len(whole) == 8
    third = tokenizer.decode(whole[:3])
    (found,) = generate(model, [[5, 6]], max_new_tokens=8, stop=lambda text: text == third)
    assert found == whole[:3]


def test_generation_errors():
    model = tiny.bridge("llama")
    with pytest.raises(CulnigError, match="max_new_tokens is 0: give 1 or more"):
        generate(model, [[1]], max_new_tokens=0)
    with pytest.raises(CulnigError, match="sequence 1 has no token: give a prompt"):
        generate(model, [[1], []])
