"""What a hooked model is: its name, weights, class, neurons, tokenizer and limits."""

import weakref
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.classes import is_native
from culnig_tl.models.configs import no_gate
from culnig_tl.models.faithful import Comparison
from culnig_tl.models.forward import at_least_float32
from culnig_tl.models.identity import weights_in
from culnig_tl.neurons.layout import ATTENTION_SITES, SITES, NeuronLayout, Site, hook_name
from culnig_tl.provenance import Provenance


@dataclass(frozen=True)
class Known:
    """What a hooked model cannot tell about itself."""

    name: str
    revision: str
    tokenizer: Any
    comparison: Comparison
    weights: str
    positions: int | None = None
    ends: frozenset[int] = frozenset()


KNOWN: "weakref.WeakKeyDictionary[Any, Known]" = weakref.WeakKeyDictionary()


def position_limit(model: HookedModel) -> int | None:
    """How many tokens a text may have; None where there is no limit."""
    known = KNOWN.get(model)
    return known.positions if known else None


def model_end_tokens(model: HookedModel) -> frozenset[int]:
    """The tokens at which the model's own configuration ends a text."""
    known = KNOWN.get(model)
    return known.ends if known else frozenset()


def tokenizer_of(model: HookedModel) -> Any:
    """The tokenizer as the user gave it.

    TransformerLens replaces it by one that begins every text with BOS, also where the model was
    trained without.
    """
    known = KNOWN.get(model)
    return known.tokenizer if known else model.tokenizer


def describe_model(model: HookedModel) -> Provenance:
    """Name, revision, hash of the weights, class, dtype, weight processing and neurons of a
    model, for provenance.

    `comparison`: how far it was from the Hugging Face model on a short prompt when it was wrapped.
    """
    known = KNOWN.get(model)
    layout = layout_of(model)
    return {
        "name": known.name if known else str(model.cfg.model_name),
        "revision": known.revision if known else "unknown",
        "weights": known.weights if known else weights_in(model),
        "class": type(model).__name__,
        "dtype": str(model.cfg.dtype).removeprefix("torch."),
        "weight_processing": "none" if known else "unknown",
        "neurons": str(layout),
        "comparison": asdict(known.comparison) if known else "unknown",
    }


def identity_of(model: HookedModel) -> Provenance:
    """`describe_model` without what differs by rounding: what a checkpoint must be of."""
    about = describe_model(model)
    del about["comparison"]
    return about


def layout_of(model: HookedModel) -> NeuronLayout:
    """How many neurons each site of a hooked model has.

    Raises:
        CulnigError: the MLP is not gated or is a mixture of experts, or a hook point is missing.
    """
    cfg = model.cfg
    name = str(cfg.model_name)
    if (getattr(cfg, "num_experts", None) or 0) > 1:
        raise no_gate(name, "it is a mixture of experts (num_experts)")
    if not cfg.gated_mlp:
        raise no_gate(name, "cfg.gated_mlp is false")
    key_heads = cfg.n_key_value_heads or cfg.n_heads
    layout = NeuronLayout(
        n_layers=cfg.n_layers,
        gate=cfg.d_mlp,
        q=cfg.n_heads * cfg.d_head,
        k=key_heads * cfg.d_head,
        v=key_heads * cfg.d_head,
    )
    known_hooks = model.hook_dict  # TransformerBridge 3.9 builds it anew on every access
    missing = [
        hook
        for layer in range(layout.n_layers)
        for site in ("gate", "q", "k", "v")
        if (hook := hook_name(layer, site)) not in known_hooks
    ]
    if missing:
        raise CulnigError(f"model {name} has no hook point {missing[0]}: it cannot be attributed")
    return layout


def projection_biases(model: HookedModel) -> dict[tuple[int, Site], Float[Tensor, "neurons"]]:
    """The biases of the gate, q, k and v projections by (layer, site); those that are 0 left out.

    The two classes name them differently, and a bridge splits joint matrices into its own.
    """
    native = is_native(model)
    found: dict[tuple[int, Site], Tensor] = {}
    biases: dict[Site, Any]
    for layer, block in enumerate(model.blocks):
        if native:  # grouped key heads have `_b_K`, and `b_K` repeats it; a gate has no bias here
            names: dict[Site, str] = {"q": "b_Q", "k": "b_K", "v": "b_V"}
            biases = {
                site: getattr(block.attn, f"_{name}", getattr(block.attn, name))
                for site, name in names.items()
            }
        else:
            projections = {site: getattr(block.attn, site) for site in ATTENTION_SITES}
            projections["gate"] = block.mlp.gate
            biases = {site: getattr(projections[site], "bias", None) for site in SITES}
        for site, bias in biases.items():
            if isinstance(bias, Tensor) and bool(bias.any()):
                found[layer, site] = at_least_float32(bias.detach().flatten())
    return found
