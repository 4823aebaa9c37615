"""What neurons write, against the matrices of the Hugging Face model."""

import numpy as np
import pytest
import tiny
import torch

from culnig_tl import CulnigError, NeuronSet
from culnig_tl.measure.writes import written_tokens
from culnig_tl.models.description import layout_of, tokenizer_of

pytestmark = pytest.mark.model


def by_hand(kind, layer, site, index):
    """[d_vocab]: the row of the output matrix through the norms and the unembedding."""
    hf = tiny.hf_model(kind)
    block = hf.model.layers[layer]
    if site == "gate":
        written = block.mlp.down_proj.weight[:, index]
        behind = getattr(block, "post_feedforward_layernorm", None)
    else:  # every query head of its group reads it
        heads, keys = hf.config.num_attention_heads, hf.config.num_key_value_heads
        d_head = block.self_attn.o_proj.weight.shape[1] // heads
        head, within = divmod(index, d_head)
        columns = [(head * heads // keys + n) * d_head + within for n in range(heads // keys)]
        written = block.self_attn.o_proj.weight[:, columns].sum(1)
        behind = block.post_attention_layernorm if kind == "gemma3" else None
    written = behind(written) if behind is not None else written
    logits = hf.lm_head(hf.model.norm(written)).detach()
    return (logits - logits.mean()).numpy()


@pytest.mark.parametrize(("kind", "model_class"), tiny.MODELS)
def test_against_the_matrices(kind, model_class):
    model = tiny.model(kind, model_class)
    layout, tokenizer = layout_of(model), tokenizer_of(model)
    ids = [layout.span(1, site).start + n for site in ("gate", "q", "k", "v") for n in (0, 5, 9)]
    found = written_tokens(model, NeuronSet(layout, np.array(ids), "some"), k=3)
    neurons = found[["layer", "site", "index"]].drop_duplicates()
    assert neurons["site"].tolist() == ["gate"] * 3 + ["v"] * 3  # q and k write nothing
    for (layer, site, index), rows in found.groupby(["layer", "site", "index"], sort=False):
        expected = by_hand(kind, layer, site, index)
        order = np.argsort(-expected)
        best = [*order[:3], *order[::-1][:3]]
        assert rows["side"].tolist() == [1] * 3 + [-1] * 3
        np.testing.assert_allclose(rows["logit"], expected[best], atol=1e-4)
        assert rows["token"].tolist() == [tokenizer.decode([int(t)]) for t in best]


def test_what_is_refused():
    model = tiny.model(*tiny.FEWER_MODELS[0])
    few = NeuronSet(layout_of(model), np.array([3]), "one")
    with pytest.raises(CulnigError, match="k"):
        written_tokens(model, few, k=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    written_tokens(model, few, k=1)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
