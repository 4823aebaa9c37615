"""What a head attends to with a neuron and without, against the cache of TransformerLens."""

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError
from culnig_tl.measure.attended import attended_tokens
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.prompts import make_prompts
from culnig_tl.neurons.layout import Neuron, hook_name

pytestmark = pytest.mark.model


@pytest.mark.parametrize("site", ["q", "k"])
@pytest.mark.parametrize(("kind", "model_class"), tiny.MODELS)
def test_against_the_cache(kind, model_class, site):
    model = tiny.model(kind, model_class)
    layout, instance = layout_of(model), tiny.instances()[3]
    neuron = Neuron(1, site, layout.size(site) - 2)  # of the last head
    found = attended_tokens(model, instance, neuron, answer_format="cloze")
    (prompt,) = make_prompts(tokenizer_of(model), [instance], answer_format="cloze")
    assert len(found) == len(prompt.tokens)

    def cut(activation, hook):
        flat = activation.flatten(2).clone()
        flat[:, :, neuron.index] = 0
        return flat.view(activation.shape)

    name = "blocks.1.attn.hook_pattern"
    heads = layout.q // layout.size(site)  # query heads of this one
    for column, hooks in (("with_neuron", []), ("without_neuron", [(hook_name(1, site), cut)])):
        seen = []
        keep = (name, lambda pattern, hook, seen=seen: seen.append(pattern))
        model.run_with_hooks(torch.tensor([prompt.tokens]), fwd_hooks=[*hooks, keep])
        expected = seen[0][0, -heads:, -1].mean(0).detach().numpy()
        np.testing.assert_allclose(found[column], expected, atol=1e-5)
    assert not np.allclose(found["with_neuron"], found["without_neuron"], atol=1e-7)


def test_what_is_refused():
    model = tiny.model(*tiny.FEWER_MODELS[0])
    with pytest.raises(CulnigError, match="gate neurons do not say where a head looks"):
        attended_tokens(model, tiny.instances()[0], Neuron(0, "gate", 0))
    with pytest.raises(CulnigError, match="no neuron"):
        attended_tokens(model, tiny.instances()[0], Neuron(99, "q", 0))
