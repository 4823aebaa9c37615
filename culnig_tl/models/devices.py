"""Devices: which there are, and over which a model is spread."""

import os
from typing import Any

import torch

from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import HookedModel
from culnig_tl.processes import process_count


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


def balanced(devices: int) -> dict[str, Any]:
    """What tells transformers to spread a model over this process's GPUs."""
    check_count("devices", devices, least=1)
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


def layer_devices(model: HookedModel) -> list[torch.device]:
    """Where each layer's weights are."""
    return [next(block.parameters()).device for block in model.blocks]


def not_spread() -> CulnigError:
    """The error where a HookedTransformer is asked for over several devices."""
    return CulnigError(
        "a HookedTransformer is not spread over several devices here: use "
        "model_class='TransformerBridge' (--model-class)"
    )
