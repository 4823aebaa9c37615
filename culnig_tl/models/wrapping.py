"""Wrapping: a Hugging Face model becomes a hooked one, and is shown to be the same.

Everything else in the package uses only what `HookedTransformer` and `TransformerBridge` share:
`cfg`, `hook_dict`, `hooks`, tokens and mask in, logits out.
"""

import contextlib
import copy
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import MODEL_CLASSES, HookedModel, ModelClass
from culnig_tl.models.classes import HookedTransformer, is_native
from culnig_tl.models.configs import end_ids, most_positions, neuron_layout, text_model
from culnig_tl.models.description import KNOWN, Known
from culnig_tl.models.devices import check_device, default_device, not_spread
from culnig_tl.models.embedded import hub_name
from culnig_tl.models.faithful import (
    Comparison,
    compare_logits,
    compared,
    nothing_installed,
    own_logits,
    probe,
)
from culnig_tl.models.forward import kept_logits
from culnig_tl.models.identity import weights_in
from culnig_tl.provenance import package_versions

_log = logging.getLogger(__name__)


def wrap_model(
    hf_model: Any,
    tokenizer: Any,
    *,
    name: str | None = None,
    model_class: ModelClass = "auto",
    device: str | None = None,
    revision: str | None = None,
    weights: str | None = None,
) -> HookedModel:
    """Wrap a Hugging Face causal language model that is already in memory, peft's adapters too.

    `name` and `revision` go into the provenance of results; `name` also tells whether
    `HookedTransformer` knows the architecture. The model is put into eval mode on `device`; one
    that was loaded with a `device_map` stays where it is. `weights` is `weights_of` the files it
    was loaded from; without it the tensors themselves are hashed (`weights_in`).

    The hooked model is compared with the Hugging Face model on one short prompt, and `auto` takes
    the class that agrees. It shares its weights, so that there is one copy of them, and a later
    change of `hf_model` may change it. Of a model that also sees, only the language model is
    wrapped.

    Raises:
        CulnigError: the class cannot be had for this model, the hooked model answers otherwise
            than the model, or the model has no gated MLP.

    Example:
        `folder` holds a tiny random model.

        >>> hooked = wrap_model(*load_hf_model(folder), name="mine")
        >>> "blocks.0.mlp.hook_pre" in hooked.hook_dict
        True
    """
    check_choice("model class", model_class, MODEL_CLASSES)
    label: str = name or hf_model.config.name_or_path or type(hf_model).__name__
    check_device(device)
    neuron_layout(hf_model.config, name=label, hf_model=hf_model)
    if hasattr(hf_model, "get_base_model"):  # adapters around it; they stay in its layers
        hf_model = hf_model.get_base_model()
    weights = weights or weights_in(hf_model, tokenizer=tokenizer)
    on_device: Any = hf_model.eval()
    if len(getattr(hf_model, "hf_device_map", ())) > 1:
        if model_class == "HookedTransformer":
            raise not_spread()
        model_class, device = "TransformerBridge", None  # the bridge asks the device map
    else:
        device = device or default_device()
        on_device = on_device.to(device)
    model, comparison = _faithful(
        on_device, tokenizer, label, model_class=model_class, device=device
    )
    commit = getattr(hf_model.config, "_commit_hash", None)
    KNOWN[model] = Known(
        name=label,
        revision=revision or commit or "unknown",
        tokenizer=tokenizer,
        comparison=comparison,
        weights=weights,
    )
    _keep_limits(model, hf_model)
    return model.eval()


def _faithful(
    hf_model: Any, tokenizer: Any, name: str, *, model_class: ModelClass, device: str | None
) -> tuple[HookedModel, Comparison]:
    """The hooked model, and how it compares with the model itself.

    Raises:
        CulnigError: no class that was asked for can be had, or none agrees.
    """
    tokens = probe(hf_model.config)
    try:
        own = own_logits(hf_model, tokens)
    except Exception as error:  # of the model's own code: of any kind
        raise CulnigError(
            f"model {name} does not answer a prompt of {tokens.shape[1]} tokens "
            f"({_reason(error)}): is it a causal language model, and is there memory for it?"
        ) from error
    language_model = text_model(hf_model)
    makers = {"HookedTransformer": _hooked_transformer, "TransformerBridge": _bridge}
    kinds = classes_for(name, model_class)
    refusals = []
    for kind in kinds:  # the bridge last: it takes the model apart
        try:
            model = makers[kind](language_model, tokenizer, name, device=device)
            with torch.no_grad():
                there = tokens.to(model.cfg.device)
                logits = kept_logits(model, there, None, keep=compared(there))
            comparison = compare_logits(logits, own)
        except CulnigError:
            raise
        except Exception as error:  # of TransformerLens: of any kind
            refusals.append(f"{kind} cannot be made of it ({_reason(error)})")
            continue
        if math.isnan(comparison.divergence):
            _log.warning("%s: its logits are not finite on a short prompt", name)
        if comparison.agrees(hf_model.dtype):
            return model, comparison
        refusals.append(f"{kind} differs from the model by {comparison.largest:.2g} nats in log P")
        if kind != kinds[-1]:
            _log.warning("%s: %s, trying the other class", name, refusals[-1])
        del model
    adapters = " and merge its adapters first" if _has_adapters(hf_model) else ""
    raise CulnigError(
        f"model {name}: {'; '.join(refusals)}: try another model_class (--model-class), another "
        f"version of transformer-lens or another model{adapters}"
    )


def classes_for(name: str, model_class: ModelClass = "auto") -> tuple[ModelClass, ...]:
    """The classes that are tried for a model of this name: the first that agrees is taken."""
    if model_class != "auto":
        return (model_class,)
    if _official_name(name) is None:
        return ("TransformerBridge",)
    return ("HookedTransformer", "TransformerBridge")


def class_reason(name: str) -> str:
    """Why `auto` tries these classes for a model of this name."""
    here = f"transformer-lens {package_versions()['transformer-lens']}"
    if HookedTransformer is None:
        return f"{here} has no HookedTransformer"
    official = _official_name(name)
    if official is None:
        return f"{here} knows no HookedTransformer of this name"
    return (
        f"{here} knows a HookedTransformer named {official}; it is taken if it answers a short "
        "prompt as the model does"
    )


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def _has_adapters(hf_model: Any) -> bool:
    return any("lora_" in name for name, _ in hf_model.named_parameters())


def _keep_limits(model: HookedModel, hf_model: Any) -> None:
    """Keep what a hooked model does not say of itself: its positions, and what ends its texts."""
    positions = most_positions(hf_model.config)
    known = KNOWN[model]
    KNOWN[model] = replace(known, positions=positions, ends=end_ids(hf_model))
    if is_native(model) and positions and model.cfg.positional_embedding_type == "rotary":
        # Its own cap is lower for some models; tables and masks grow with what is run.
        model.cfg.n_ctx = positions


def _official_name(name: str) -> str | None:
    """The name under which the installed TransformerLens can make a HookedTransformer of it."""
    if HookedTransformer is None:
        return None
    from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES

    official = hub_name(name)
    return official if official in OFFICIAL_MODEL_NAMES else None


def _own_tokenizer(tokenizer: Any) -> Any:
    """A copy that TransformerLens takes as it is, where it would else load one by name again.

    What it does not change is shared, as a large vocabulary takes seconds to copy; it adds a
    token only where there is none to end, begin or pad a text.
    """
    parts = ["_vocab", "_merges"]
    if None not in (tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token):
        parts.append("_tokenizer")
    shared = [vars(tokenizer)[part] for part in parts if part in vars(tokenizer)]
    own = copy.deepcopy(tokenizer, {id(part): part for part in shared})
    own.init_kwargs["add_bos_token"] = True
    own.padding_side = "left"
    return own


def _hooked_transformer(
    hf_model: Any, tokenizer: Any, name: str, *, device: str | None
) -> HookedModel:
    version = package_versions()["transformer-lens"]
    if HookedTransformer is None:
        raise CulnigError(
            f"the installed transformer-lens {version} has no HookedTransformer: use "
            "model_class='TransformerBridge', or install transformer-lens 3.9"
        )
    official = _official_name(name)
    if official is None:
        raise CulnigError(
            f"transformer-lens has no HookedTransformer for {name!r}: use "
            "model_class='TransformerBridge'"
        )
    from transformer_lens import loading_from_pretrained as loading

    # It warns that 4.0 will not have it: the user asked for it.
    with torch.no_grad(), warnings.catch_warnings(), _configuration(loading, hf_model):
        warnings.simplefilter("ignore", DeprecationWarning)
        cfg = loading.get_pretrained_model_config(
            official,
            hf_cfg=hf_model.config.to_dict(),
            device=device,
            dtype=hf_model.dtype,
        )
        weights = loading.get_pretrained_state_dict(official, cfg, hf_model, dtype=hf_model.dtype)
        model = HookedTransformer(cfg, _own_tokenizer(tokenizer), move_to_device=False)
        _share(model, weights)
        model.move_model_modules_to_device()
        _store_transposed(model)
    return model


@contextlib.contextmanager
def _configuration(loading: Any, hf_model: Any) -> Iterator[None]:
    """Within the `with`, TransformerLens reads the model's own configuration.

    It would fetch one by the model's name: of another revision perhaps, and trusting its code.
    """
    config = copy.deepcopy(hf_model.config)
    config.architectures = config.architectures or [type(hf_model).__name__]
    real = loading.AutoConfig
    loading.AutoConfig = SimpleNamespace(from_pretrained=lambda *names, **options: config)
    try:
        yield
    finally:
        loading.AutoConfig = real


def _share(model: HookedModel, weights: dict[str, Tensor]) -> None:
    """Give the model these weights without copying them, where they are of its types.

    TransformerLens would copy them into memory of its own: twice a model, for a while or, where
    the other one is kept, for good.
    """
    own = dict(model.named_parameters())
    weights = model.fill_missing_keys(weights)
    weights = {
        key: weight.detach().to(own[key].dtype) if key in own else weight
        for key, weight in weights.items()
    }
    found = model.load_state_dict(weights, strict=False, assign=True)
    missing = [key for key in found.missing_keys if key in own]
    if missing:
        raise CulnigError(f"transformer-lens has no weight {missing[0]} for this model")


def _store_transposed(model: HookedModel) -> None:
    """Lay out the weights in memory so that HookedTransformer's passes need not copy them.

    Each pass transposes the weights of the MLPs, the unembedding and the attention and asks for
    contiguous matrices; stored as TransformerLens lays them out, each pass would copy them all
    (and autograd keep the copies). Shapes and values stay as they are; so do weights that are
    laid out so already, as those that the Hugging Face model shares are.
    """

    def store(weight: Tensor, order: tuple[int, ...]) -> None:
        back = tuple(order.index(axis) for axis in range(len(order)))
        weight.data = weight.data.permute(order).contiguous().permute(back)

    store(model.unembed.W_U, (1, 0))
    for block in model.blocks:
        for matrix in (block.mlp.W_gate, block.mlp.W_in, block.mlp.W_out):
            store(matrix, (1, 0))
        for name, weight in block.attn.named_parameters():
            if name in ("W_Q", "W_K", "W_V", "_W_K", "_W_V"):  # [head, d_model, d_head]
                store(weight, (0, 2, 1))
        store(block.attn.W_O, (2, 0, 1))  # [head, d_head, d_model]


def _bridge(hf_model: Any, tokenizer: Any, name: str, *, device: str | None) -> HookedModel:
    if not hf_model.config.architectures:
        hf_model.config.architectures = [type(hf_model).__name__]
    with nothing_installed():
        return TransformerBridge.boot_transformers(
            hub_name(name),
            hf_model=hf_model,
            tokenizer=_own_tokenizer(tokenizer),
            device=device,
            dtype=hf_model.dtype,
        )
