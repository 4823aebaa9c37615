"""Loading a model by name: from the Hub, from a folder, or the embedded one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.files import new_folder
from culnig_tl.models.adapters import adapted_model, merged, need_peft
from culnig_tl.models.choices import DTYPES, MODEL_CLASSES, Dtype, HookedModel, ModelClass
from culnig_tl.models.devices import balanced, check_device, not_spread
from culnig_tl.models.embedded import EMBEDDED, EMBEDDED_NAME, source_of
from culnig_tl.models.hf_files import check_model_files
from culnig_tl.models.hub import hub_errors
from culnig_tl.models.identity import weights_of
from culnig_tl.models.wrapping import wrap_model


def load_model(
    name: str = EMBEDDED_NAME,
    *,
    model_class: ModelClass = "auto",
    dtype: Dtype = "float32",
    device: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    devices: int = 1,
) -> HookedModel:
    """Load a model by name as a hooked transformer with raw weights.

    Args:
        name: `gemma-3-270m` or `SmolLM2-135M-Instruct` (embedded, no network needed), a name on
            the Hub, or a folder. The adapters of a folder that holds nothing else, such as a
            LoRA, are merged into their model.
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

    Example:
        `folder` holds a tiny random model; a name on the Hub loads as well.

        >>> load_model(folder).cfg.n_layers
        3
    """
    check_choice("model class", model_class, MODEL_CLASSES)
    if devices > 1 and device is not None:
        raise CulnigError(
            f"device {device!r} and devices {devices}: give one of them (--device, --devices)"
        )
    if devices > 1 and model_class == "HookedTransformer":
        raise not_spread()
    check_device(device)
    hf_model, tokenizer = load_hf_model(
        name, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code, devices=devices
    )
    return wrap_model(
        hf_model,
        tokenizer,
        name=name,
        model_class=model_class,
        device=device,
        revision=EMBEDDED[name].sha256 if name in EMBEDDED else None,
        weights=weights_of(
            name, revision=getattr(hf_model.config, "_commit_hash", None) or revision
        ),
    )


def load_hf_model(
    name: str = EMBEDDED_NAME,
    *,
    dtype: Dtype = "float32",
    revision: str | None = None,
    trust_remote_code: bool = False,
    devices: int = 1,
) -> tuple[transformers.PreTrainedModel, Any]:
    """The Hugging Face model and tokenizer behind `load_model`; arguments as there.

    With one device it is on the CPU.

    Raises:
        CulnigError: as `load_model`.

    Example:
        `folder` holds a tiny random model; a name on the Hub loads as well.

        >>> hf_model, tokenizer = load_hf_model(folder, dtype="bfloat16")
        >>> hf_model.config.num_hidden_layers
        3
    """
    check_choice("dtype", dtype, DTYPES)
    source = source_of(name)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    placement = balanced(devices)
    if os.path.isdir(source):
        check_model_files(Path(source))
    base = adapted_model(source)
    if base is not None:
        need_peft()
        hf_model, _ = load_hf_model(
            base, dtype=dtype, trust_remote_code=trust_remote_code, devices=devices
        )
        with hub_errors(name, part="adapters"):
            hf_model = merged(hf_model, source)
        return hf_model, load_tokenizer(name, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(name, revision=revision, trust_remote_code=trust_remote_code)
    with hub_errors(name, part="config.json or weights"):
        load: Any = AutoModelForCausalLM.from_pretrained
        hf_model, found = load(
            source,
            dtype=getattr(torch, dtype),
            attn_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # to say below which they are
            **options,
            **placement,
        )
    check_complete(name, found)
    return hf_model, tokenizer


def load_tokenizer(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> Any:
    """The tokenizer of a model by name; adapters without one have that of their model.

    Raises:
        CulnigError: as `load_model`.
    """
    source = source_of(name)
    base = adapted_model(source)
    if base is not None and not (Path(source) / "tokenizer_config.json").is_file():
        source = source_of(base)
    with hub_errors(name, part="config.json or tokenizer"):
        return AutoTokenizer.from_pretrained(
            source, revision=revision, trust_remote_code=trust_remote_code
        )


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
    with new_folder(folder, replace=replace) as half:
        hf_model.save_pretrained(half)
        tokenizer.save_pretrained(half)
