"""The weights of neurons: scaled in place, and hashed."""

import hashlib
from typing import Any

import torch

from culnig_tl.checks import check_number
from culnig_tl.errors import CulnigError
from culnig_tl.models.configs import config_layout
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.training.modules import module_weights

# Where a site's rows are: its own matrix, and in the joint one after those of these sites.
_MATRICES = {
    "gate": ("MLP", "gate_proj", "gate_up_proj", ()),
    "q": ("attention", "q_proj", "qkv_proj", ()),
    "k": ("attention", "k_proj", "qkv_proj", ("q",)),
    "v": ("attention", "v_proj", "qkv_proj", ("q", "k")),
}


def scale_weights(hf_model: Any, neurons: NeuronSet, *, factor: float = 0.0) -> None:
    """Scale `neurons` in the weights of a Hugging Face model, in place.

    A neuron is an output of one matrix, so its activation times `factor` is its row of weights,
    and its bias, times `factor`: what `ablate` does by hooks.

    Raises:
        CulnigError: a set of another model, or a model without such matrices.
    """
    check_number("factor", factor)
    layout = config_layout(hf_model.config.get_text_config())
    require_same_model(neurons, layout)
    weights = module_weights(hf_model)
    with torch.no_grad():
        for (layer, site), indices in neurons.by_site().items():
            kind, own, joint, before = _MATRICES[site]
            rows = {
                name: weight
                for name, weight in weights[layer, kind].items()
                if name.split(".")[-2] in (own, joint)
            }
            if not rows:
                raise CulnigError(
                    f"{type(hf_model).__name__} has neither {own} nor {joint} in layer {layer}: "
                    "it cannot be exported"
                )
            for name, weight in rows.items():
                offset = sum(map(layout.size, before)) if f".{joint}." in name else 0
                weight[torch.tensor(indices, device=weight.device) + offset] *= factor


def weight_hashes(hf_model: Any) -> dict[str, str]:
    """SHA-256 of every weight of a Hugging Face model by name; tied ones once."""
    return {
        name: hashlib.sha256(
            weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        ).hexdigest()
        for name, weight in hf_model.named_parameters()
    }
