"""What neurons write: the tokens that they raise and lower by themselves, whatever is asked."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from culnig_tl.checks import check_count
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen
from culnig_tl.models.hooks import hooked
from culnig_tl.neurons.layout import Key
from culnig_tl.neurons.sets import NeuronSet, require_same_model

# Where a site's activation can be put in place so that nothing but the output matrix follows, and
# where what it writes enters the residual stream, norms behind the layer included.
_WRITES = {"gate": ("mlp.hook_post", "hook_mlp_out"), "v": ("attn.hook_v", "hook_attn_out")}


def written_tokens(model: HookedModel, neurons: NeuronSet, *, k: int = 8) -> pd.DataFrame:
    """The tokens whose logits each gate and v neuron raises most and lowers most.

    What a neuron of value 1 writes into the residual stream, alone in its layer, is read as if it
    were all that there is at the end: through the final norm and the unembedding (the logit lens).
    A gate's value here is h = act(n) * up, the input of the MLP's last projection; where h is
    below 0, raised and lowered change places. Later layers see what is written too, so this is a
    hint of what a neuron does and no effect. q and k write nothing, and are left out.

    Args:
        model: from `load_model` or `wrap_model`.
        neurons: which, of this model.
        k: how many tokens of each side.

    Returns:
        One row a neuron and token: layer, site, index, side (1: raised, -1: lowered), token (its
        text), logit (less the mean over the vocabulary). The largest change first.

    Raises:
        CulnigError: a set of another model, k below 1 or above half the vocabulary, or logits that
            are NaN or infinite.

    Example:
        `model` is a tiny random one, and `neurons` a set of it.

        >>> found = written_tokens(model, neurons, k=2)
        >>> found.columns.tolist()
        ['layer', 'site', 'index', 'side', 'token', 'logit']
    """
    check_count("k", k, least=1, most=model.cfg.d_vocab // 2)
    require_same_model(neurons, layout_of(model))
    tokenizer = tokenizer_of(model)
    rows: list[dict[str, Any]] = []
    with frozen(model), torch.no_grad():
        for key, indices in neurons.by_site().items():
            if key[1] not in _WRITES:
                continue
            logits = _read(model, _written(model, key, torch.tensor(indices)))
            check_finite(logits, [f"layer {key[0]}, {key[1]} {i}" for i in indices], "logits")
            for index, values in zip(indices, logits, strict=True):
                for side in (1, -1):
                    best = (side * values).topk(k).indices
                    rows += [
                        {
                            "layer": key[0],
                            "site": key[1],
                            "index": int(index),
                            "side": side,
                            "token": tokenizer.decode([int(token)]),
                            "logit": float(values[token]),
                        }
                        for token in best
                    ]
    return pd.DataFrame(rows, columns=["layer", "site", "index", "side", "token", "logit"])


def _written(model: HookedModel, key: Key, indices: Tensor) -> Float[Tensor, "neuron d_model"]:
    """What each of these neurons writes into the residual stream, its value 1, the others' 0."""
    (layer, site), kept = key, []
    begin, end = (f"blocks.{layer}.{name}" for name in _WRITES[site])

    def only(activation: Tensor, hook: Any) -> Tensor:
        flat = torch.zeros_like(activation.flatten(2))
        flat[torch.arange(len(indices)), 0, indices.to(flat.device)] = 1
        return flat.view(activation.shape)

    def keep(written: Tensor, hook: Any) -> None:
        kept.append(written[:, 0])

    _one_token(model, len(indices), [(begin, only), (end, keep)])
    return kept[0]


def _read(
    model: HookedModel, residuals: Float[Tensor, "neuron d_model"]
) -> Float[Tensor, "neuron d_vocab"]:
    """The logits of residuals that are all there is at the end, less their mean."""
    last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    logits = _one_token(model, len(residuals), [(last, lambda x, hook: residuals[:, None])])
    logits = at_least_float32(logits[:, 0]).cpu()
    return logits - logits.mean(dim=1, keepdim=True)


def _one_token(
    model: HookedModel, rows: int, hooks: list[tuple[str, Callable[..., Any]]]
) -> Tensor:
    tokens = torch.zeros(rows, 1, dtype=torch.long, device=model.cfg.device)
    with hooked(model, hooks):
        return model(tokens, attention_mask=torch.ones_like(tokens))
