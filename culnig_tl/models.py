"""Hooked models: loading them, wrapping them, and the little in which their classes differ.

Everything else in the package uses only what `HookedTransformer` and `TransformerBridge` share:
`cfg`, `hook_dict`, `hooks`, tokens and mask in, logits out.
"""

import contextlib
import copy
import logging
import math
import os
import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformer_lens
import transformers
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer

from culnig_tl.checks import check_choice, check_count
from culnig_tl.configs import (
    count_neurons,
    end_ids,
    hub_errors,
    most_positions,
    no_gate,
    text_model,
)
from culnig_tl.embedded import EMBEDDED_HUB_NAME, EMBEDDED_NAME, SHA256, embedded_folder
from culnig_tl.errors import CulnigError
from culnig_tl.faithful import (
    Comparison,
    compare_logits,
    compared,
    nothing_installed,
    own_logits,
    probe,
)
from culnig_tl.files import Provenance, new_folder, package_versions, process_count
from culnig_tl.identity import weights_in, weights_of
from culnig_tl.model_files import check_model_files
from culnig_tl.neurons import NeuronLayout, hook_name

try:
    HookedTransformer: Any = transformer_lens.HookedTransformer
except (AttributeError, ImportError):  # gone since TransformerLens 4
    HookedTransformer = None
HookedModel = Any  # HookedTransformer | TransformerBridge: they have no base class but nn.Module
MODEL_CLASSES = ("auto", "HookedTransformer", "TransformerBridge")
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
DTYPES = tuple(_DTYPES)


@dataclass(frozen=True)
class _Known:
    """What a hooked model cannot tell about itself."""

    name: str
    revision: str
    tokenizer: Any
    comparison: Comparison
    weights: str
    positions: int | None = None
    ends: frozenset[int] = frozenset()


_log = logging.getLogger(__name__)
_KNOWN: "weakref.WeakKeyDictionary[Any, _Known]" = weakref.WeakKeyDictionary()


def load_model(
    name: str = EMBEDDED_NAME,
    model_class: str = "auto",
    dtype: str = "float32",
    device: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    devices: int = 1,
) -> HookedModel:
    """Load a model by name as a hooked transformer with raw weights.

    Args:
        name: `gemma-3-270m` (embedded, no network needed), a name on the Hub, or a folder.
        model_class: `HookedTransformer` (TransformerLens 3.x, no weight processing),
            `TransformerBridge`, or `auto`: the first where the installed TransformerLens has it
            and knows the model, otherwise the second. Over several devices it is the second.
        dtype: `float32`, `bfloat16`, `float16`, `float64`.
        device: `cpu`, `cuda`, ...; None takes the accelerator if there is one.
        revision: branch, tag or commit on the Hub.
        trust_remote_code: run code that comes with the model.
        devices: over how many GPUs its layers are spread (transformers' balanced device map); of
            several processes on a machine each takes the next so many.

    Raises:
        CulnigError: unknown model or class, no network, missing extra, no gated MLP, or not so
            many GPUs.
    """
    check_choice("model class", model_class, MODEL_CLASSES)
    if devices > 1 and device is not None:
        raise CulnigError(
            f"device {device!r} and devices {devices}: give one of them (--device, --devices)"
        )
    if devices > 1 and model_class == "HookedTransformer":
        raise _not_spread()
    check_device(device)
    hf_model, tokenizer = load_hf_model(name, dtype, revision, trust_remote_code, devices)
    return wrap_model(
        hf_model,
        tokenizer,
        name=name,
        model_class=model_class,
        device=device,
        revision=SHA256 if name == EMBEDDED_NAME else None,
        weights=weights_of(name, getattr(hf_model.config, "_commit_hash", None) or revision),
    )


def load_hf_model(
    name: str = EMBEDDED_NAME,
    dtype: str = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    devices: int = 1,
) -> tuple[transformers.PreTrainedModel, Any]:
    """The Hugging Face model and tokenizer behind `load_model`; arguments as there.

    With one device it is on the CPU.

    Raises:
        CulnigError: as `load_model`.
    """
    check_choice("dtype", dtype, DTYPES)
    source = embedded_folder() if name == EMBEDDED_NAME else name
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    placement = _balanced(devices)
    if os.path.isdir(source):
        check_model_files(Path(source))
    with hub_errors(name, "config.json or tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    with hub_errors(name, "config.json or weights"):
        load: Any = AutoModelForCausalLM.from_pretrained
        hf_model, found = load(
            source,
            dtype=_DTYPES[dtype],
            attn_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # to say below which they are
            **options,
            **placement,
        )
    check_complete(name, found)
    return hf_model, tokenizer


def check_complete(name: str, found: Mapping[str, Any]) -> None:
    """Refuse a model whose weights are not those of its configuration.

    transformers puts random numbers where a weight is missing.

    Args:
        found: its loading information: missing, unexpected and mismatched keys, error messages.

    Raises:
        CulnigError: some weight is missing, unexpected, or of another shape; the first by name.
    """
    for kind, what in (
        ("missing_keys", "lacks"),
        ("unexpected_keys", "has, beside those of its configuration,"),
        ("mismatched_keys", "has in another shape"),
        ("error_msgs", "could not be read"),
    ):
        keys = sorted(map(str, found.get(kind) or ()))
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise CulnigError(
                f"the checkpoint of {name!r} {what} {keys[0]}{more}: it is damaged or does not "
                "belong to its config.json; download or save it again"
            )


def check_device(device: str | None) -> None:
    """Refuse a device that this machine or this torch does not have.

    Raises:
        CulnigError: it is not there, or no device at all; the message lists what there is.
    """
    if device is None:
        return
    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        there.append("mps")
    try:
        usable = torch.device(device).type != "meta" and torch.empty(1, device=device) is not None
    except Exception:  # each backend has its own
        usable = False
    if not usable:
        raise CulnigError(f"no device {device!r} here: choose from {', '.join(there)} (--device)")


def default_device() -> str:
    """The accelerator if there is one; of several processes each has its own."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if process_count() > 1 else "cuda"


def _balanced(devices: int) -> dict[str, Any]:
    """What tells transformers to spread a model over this process's GPUs."""
    check_count("devices", devices, 1)
    if devices == 1:
        return {}
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    first = int(os.environ.get("LOCAL_RANK", "0")) * devices if process_count() > 1 else 0
    if first + devices > there:
        raise CulnigError(
            f"devices is {devices}, and this machine has {there} GPUs"
            + (f", {first} of them for the processes before this" if first else "")
            + ": give fewer devices (--devices) or processes"
        )
    mine = range(first, first + devices)
    return {
        "device_map": "balanced",
        "max_memory": {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in mine},
    }


def save_hf_model(
    hf_model: transformers.PreTrainedModel,
    tokenizer: Any,
    folder: Path,
    *,
    replace: bool = False,
) -> None:
    """Write a Hugging Face folder; half of one is never there under its name.

    Args:
        replace: a folder of that name goes; it must be ours.

    Raises:
        CulnigError: the folder cannot be written, or is there already.
    """
    with new_folder(folder, replace) as half:
        hf_model.save_pretrained(half)
        tokenizer.save_pretrained(half)


def wrap_model(
    hf_model: Any,
    tokenizer: Any,
    name: str | None = None,
    model_class: str = "auto",
    device: str | None = None,
    revision: str | None = None,
    *,
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
    """
    check_choice("model class", model_class, MODEL_CLASSES)
    label: str = name or hf_model.config.name_or_path or type(hf_model).__name__
    check_device(device)
    count_neurons(hf_model.config, label, hf_model=hf_model)
    if hasattr(hf_model, "get_base_model"):  # adapters around it; they stay in its layers
        hf_model = hf_model.get_base_model()
    weights = weights or weights_in(hf_model, tokenizer)
    on_device: Any = hf_model.eval()
    if len(getattr(hf_model, "hf_device_map", ())) > 1:
        if model_class == "HookedTransformer":
            raise _not_spread()
        model_class, device = "TransformerBridge", None  # the bridge asks the device map
    else:
        device = device or default_device()
        on_device = on_device.to(device)
    model, comparison = _faithful(on_device, tokenizer, label, model_class, device)
    commit = getattr(hf_model.config, "_commit_hash", None)
    _KNOWN[model] = _Known(label, revision or commit or "unknown", tokenizer, comparison, weights)
    _keep_limits(model, hf_model)
    return model.eval()


def _faithful(
    hf_model: Any, tokenizer: Any, name: str, model_class: str, device: str | None
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
    if model_class != "auto":
        makers = {model_class: makers[model_class]}
    elif _official_name(name) is None:
        del makers["HookedTransformer"]
    refusals = []
    for kind, make in makers.items():  # the bridge last: it takes the model apart
        try:
            model = make(language_model, tokenizer, name, device)
            with torch.no_grad():
                there = tokens.to(model.cfg.device)
                logits = kept_logits(model, there, None, compared(there))
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
        if kind != list(makers)[-1]:
            _log.warning("%s: %s, trying the other class", name, refusals[-1])
        del model
    adapters = " and merge its adapters first" if _has_adapters(hf_model) else ""
    raise CulnigError(
        f"model {name}: {'; '.join(refusals)}: try another model_class (--model-class), another "
        f"version of transformer-lens or another model{adapters}"
    )


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def _has_adapters(hf_model: Any) -> bool:
    return any("lora_" in name for name, _ in hf_model.named_parameters())


def _keep_limits(model: HookedModel, hf_model: Any) -> None:
    """Keep what a hooked model does not say of itself: its positions, and what ends its texts."""
    positions = most_positions(hf_model.config)
    known = _KNOWN[model]
    _KNOWN[model] = replace(known, positions=positions, ends=end_ids(hf_model))
    if _is_native(model) and positions and model.cfg.positional_embedding_type == "rotary":
        # Its own cap is lower for some models; tables and masks grow with what is run.
        model.cfg.n_ctx = positions


def _is_native(model: HookedModel) -> bool:
    """Whether it is a HookedTransformer, and not a bridge."""
    return HookedTransformer is not None and isinstance(model, HookedTransformer)


def position_limit(model: HookedModel) -> int | None:
    """How many tokens a text may have; None where there is no limit."""
    known = _KNOWN.get(model)
    return known.positions if known else None


def model_end_tokens(model: HookedModel) -> frozenset[int]:
    """The tokens at which the model's own configuration ends a text."""
    known = _KNOWN.get(model)
    return known.ends if known else frozenset()


def tokenizer_of(model: HookedModel) -> Any:
    """The tokenizer as the user gave it.

    TransformerLens replaces it by one that begins every text with BOS, also where the model was
    trained without.
    """
    known = _KNOWN.get(model)
    return known.tokenizer if known else model.tokenizer


def describe_model(model: HookedModel) -> Provenance:
    """Name, revision, hash of the weights, class, dtype, weight processing and neurons of a
    model, for provenance.

    `comparison`: how far it was from the Hugging Face model on a short prompt when it was wrapped.
    """
    known = _KNOWN.get(model)
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


def layer_devices(model: HookedModel) -> list[torch.device]:
    """Where each layer's weights are."""
    return [next(block.parameters()).device for block in model.blocks]


def kept_logits(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"] | None,
    keep: Int[Tensor, "kept"],
    cache: "PrefixCache | None" = None,
) -> Float[Tensor, "kept d_vocab"]:
    """The logits of some positions only; `keep` indexes the flattened [batch * pos].
    Without a mask every token is real. With `cache` the tokens continue what the cache holds, and
    are added to it; `mask` still covers `tokens` only.

    The positions are picked before the unembedding and handed to it as one contiguous 2-D
    tensor: with a vocabulary of 262,144 this halves the cost of a pass, and a 3-D slice through a
    frozen unembedding would take torch's slow batched path.
    """
    with model.hooks(
        fwd_hooks=[("unembed.hook_in", lambda x, hook: x.flatten(0, 1)[keep.to(x.device)])]
    ):
        return _run(model, tokens, mask, cache)


def kept_residuals(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    keep: Int[Tensor, "kept"],
    cache: "PrefixCache | None" = None,
) -> Float[Tensor, "kept d_model"]:
    """What `kept_logits` hands to the unembedding, to be unembedded later (`unembed`)."""
    kept: list[Tensor] = []

    def pick(residual: Tensor, hook: Any) -> Tensor:
        kept.append(residual.flatten(0, 1)[keep.to(residual.device)])
        return kept[0][:0]

    with model.hooks(fwd_hooks=[("unembed.hook_in", pick)]):
        _run(model, tokens, mask, cache)
    return kept[0]


def _run(
    model: HookedModel, tokens: Tensor, mask: Tensor | None, cache: "PrefixCache | None"
) -> Tensor:
    if cache is not None:
        assert mask is not None
        return cache.run(model, tokens, mask)
    if _is_native(model):
        return model(tokens, attention_mask=mask)
    return model(tokens, attention_mask=mask, use_cache=False)  # Hugging Face's default is True


def unembed(
    model: HookedModel, residuals: Float[Tensor, "kept d_model"]
) -> Float[Tensor, "kept d_vocab"]:
    """The logits of `kept_residuals`, possibly of several passes together.

    Runs the model on a single token and puts `residuals` in its place, so that whatever the
    model does to its logits (a soft cap, a scale) is done here too.
    """
    token = torch.zeros(1, 1, dtype=torch.long, device=model.cfg.device)
    with model.hooks(fwd_hooks=[("unembed.hook_in", lambda x, hook: residuals)]):
        return model(token, attention_mask=torch.ones_like(token))


def projection_biases(model: HookedModel) -> dict[tuple[int, str], Float[Tensor, "neurons"]]:
    """The biases of the gate, q, k and v projections by (layer, site); those that are 0 left out.

    The two classes name them differently, and a bridge splits joint matrices into its own.
    """
    native = _is_native(model)
    found = {}
    for layer, block in enumerate(model.blocks):
        if native:  # grouped key heads have `_b_K`, and `b_K` repeats it; a gate has no bias here
            names = {"q": "b_Q", "k": "b_K", "v": "b_V"}
            biases = {
                site: getattr(block.attn, f"_{name}", getattr(block.attn, name))
                for site, name in names.items()
            }
        else:
            parts = {"gate": block.mlp.gate, **{s: getattr(block.attn, s) for s in "qkv"}}
            biases = {site: getattr(part, "bias", None) for site, part in parts.items()}
        for site, bias in biases.items():
            if isinstance(bias, Tensor) and bool(bias.any()):
                found[layer, site] = at_least_float32(bias.detach().flatten())
    return found


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, in float32 if it was in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class PrefixCache:
    """Keys and values of a batch of prompts, shared by the continuations of each.

    The one place where the two classes' caches differ: TransformerLens's own for
    `HookedTransformer`, transformers' for `TransformerBridge`.
    """

    def __init__(self, model: HookedModel, batch: int) -> None:
        self._native = _is_native(model)
        self._mask: Tensor | None = None
        if self._native:
            from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

            self._cache: Any = TransformerLensKeyValueCache.init_cache(
                model.cfg, model.cfg.device, batch
            )
        else:
            self._cache = transformers.DynamicCache()

    def run(self, model: HookedModel, tokens: Tensor, mask: Tensor) -> Tensor:
        """Run `tokens` after what is cached; they are cached too."""
        if self._native:
            return model(tokens, attention_mask=mask, past_kv_cache=self._cache)
        self._mask = mask if self._mask is None else torch.cat([self._mask, mask], dim=1)
        return model(tokens, attention_mask=self._mask, past_key_values=self._cache, use_cache=True)

    def take(self, rows: Int[Tensor, "rows"]) -> "PrefixCache":
        """A cache of these rows of the batch, in this order, repeated where `rows` repeats."""
        taken = copy.copy(self)
        if self._native:
            taken._cache = copy.copy(self._cache)
            taken._cache.entries = [
                replace(
                    entry,
                    past_keys=entry.past_keys[rows.to(entry.past_keys.device)],
                    past_values=entry.past_values[rows.to(entry.past_values.device)],
                )
                for entry in self._cache.entries
            ]
            taken._cache.previous_attention_mask = self._cache.previous_attention_mask[rows]
        else:
            assert self._mask is not None
            taken._mask = self._mask[rows]
            taken._cache = transformers.DynamicCache()
            for number, layer in enumerate(self._cache.layers):
                at = rows.to(layer.keys.device)
                taken._cache.update(layer.keys[at], layer.values[at], number)
        return taken


def _official_name(name: str) -> str | None:
    """The name under which the installed TransformerLens can make a HookedTransformer of it."""
    if HookedTransformer is None:
        return None
    from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES

    official = EMBEDDED_HUB_NAME if name == EMBEDDED_NAME else name
    return official if official in OFFICIAL_MODEL_NAMES else None


def _not_spread() -> CulnigError:
    return CulnigError(
        "a HookedTransformer is not spread over several devices here: use "
        "model_class='TransformerBridge' (--model-class)"
    )


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
    hf_model: Any, tokenizer: Any, name: str, device: str | None
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


def _bridge(hf_model: Any, tokenizer: Any, name: str, device: str | None) -> HookedModel:
    if not hf_model.config.architectures:
        hf_model.config.architectures = [type(hf_model).__name__]
    with nothing_installed():
        return TransformerBridge.boot_transformers(
            EMBEDDED_HUB_NAME if name == EMBEDDED_NAME else name,
            hf_model=hf_model,
            tokenizer=_own_tokenizer(tokenizer),
            device=device,
            dtype=hf_model.dtype,
        )
