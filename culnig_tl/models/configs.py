"""What a configuration tells of a model. No weights."""

import copy
import os
from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.models.adapters import adapted_model
from culnig_tl.models.embedded import source_of
from culnig_tl.models.hf_files import check_model_files
from culnig_tl.models.hub import hub_errors
from culnig_tl.neurons.layout import NeuronLayout

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "num_routed_experts")


def neuron_layout(
    config: Any,
    *,
    name: str | None = None,
    hf_model: Any = None,
    trust_remote_code: bool = False,
) -> NeuronLayout:
    """How many neurons each site has, from a Hugging Face configuration alone: no weights.

    `config` is a configuration, or the name or folder of a model whose configuration is read.
    The counts of the paper's six models are in Table 12.

    Args:
        hf_model: the model, where it is at hand: its modules are looked at.
        trust_remote_code: as `load_model`.

    Raises:
        CulnigError: the MLP is not gated or is a mixture of experts; the message names the model.

    Example:
        `folder` holds a tiny model.

        >>> print(neuron_layout(folder))
        336 neurons (3 layers x (gate 48, q 32, k 16, v 16))
    """
    if isinstance(config, str | Path):
        name = str(config)
    config = read_config(config, trust_remote_code=trust_remote_code)
    name = name or config.name_or_path or type(config).__name__
    experts = [key for key in _EXPERTS if (getattr(config, key, None) or 0) > 1]
    if experts:
        raise no_gate(name, f"it is a mixture of experts ({experts[0]})")
    needed = ("num_hidden_layers", "intermediate_size", "num_attention_heads", "hidden_size")
    absent = [key for key in needed if getattr(config, key, None) is None]
    if absent:
        raise no_gate(name, f"its configuration has no {absent[0]}")
    if hf_model is None:
        with hub_errors(str(name)):
            hf_model = skeleton(config, trust_remote_code=trust_remote_code)
    modules = {path.rsplit(".", 1)[-1] for path, _ in hf_model.named_modules()}
    if not modules & {"gate_proj", "gate_up_proj"}:
        raise no_gate(name, "no gate_proj or gate_up_proj among its modules")
    return config_layout(config)


def config_layout(config: Any) -> NeuronLayout:
    """`neuron_layout` of a language model's configuration that is known to have all sites."""
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    d_head = getattr(config, "head_dim", None) or config.hidden_size // heads
    return NeuronLayout(
        n_layers=config.num_hidden_layers,
        gate=config.intermediate_size,
        q=heads * d_head,
        k=key_heads * d_head,
        v=key_heads * d_head,
    )


def read_config(config: Any, *, trust_remote_code: bool = False) -> Any:
    """The language model's configuration: of a configuration, or a model's name or folder.

    Adapters have that of the model that they are of.

    Raises:
        CulnigError: it cannot be loaded by that name.
    """
    if isinstance(config, str | Path):
        from transformers import AutoConfig

        name = str(config)
        source = source_of(name)
        with hub_errors(name, part="config.json"):
            if os.path.isdir(source):
                check_model_files(Path(source), weights=False)
            base = adapted_model(source)
            if base is not None:
                return read_config(base, trust_remote_code=trust_remote_code)
            config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    return config.get_text_config()


def most_positions(config: Any) -> int | None:
    """The positions of a Hugging Face configuration, those that its rope scaling adds included."""
    config = config.get_text_config()
    most = getattr(config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return None
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for part in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        original, factor = (part.get(key) for key in ("original_max_position_embeddings", "factor"))
        if original and factor:
            most = max(most, int(original * factor))
    return most


def end_ids(hf_model: Any) -> frozenset[int]:
    """The tokens at which a model's configuration and its generation configuration end a text."""
    config = hf_model.config
    found: set[int] = set()
    for one in (config, config.get_text_config(), getattr(hf_model, "generation_config", None)):
        ends = getattr(one, "eos_token_id", None)
        found |= set(ends if isinstance(ends, list | tuple) else () if ends is None else (ends,))
    return frozenset(int(end) for end in found if end is not None and int(end) >= 0)


def first_layers(config: Any, layers: int) -> Any:
    """A copy of a configuration with only its first layers, in what it says of each layer too."""
    part = copy.deepcopy(config)
    for name, value in vars(config).items():  # layer_types and its like
        if isinstance(value, list) and len(value) == config.num_hidden_layers:
            setattr(part, name, value[:layers])
    part.num_hidden_layers = layers
    return part


def skeleton(config: Any, *, trust_remote_code: bool = False) -> Any:
    """The Hugging Face language model of a configuration, without memory for its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)


def text_model(hf_model: Any) -> Any:
    """The language model alone of a model that also sees or hears; the weights are shared.

    A model that only reads is given back as it is, and so is one whose language model is of no
    class that transformers can build from its configuration.
    """
    config = hf_model.config.get_text_config()
    if config is hf_model.config:
        return hf_model
    try:
        alone = skeleton(config)
    except ValueError:  # no such class
        return hf_model
    kind = type(alone.base_model)
    inner = next((module for module in hf_model.modules() if type(module) is kind), None)
    head = hf_model.get_output_embeddings()
    if inner is None or head is None or alone.base_model is alone:
        return hf_model
    setattr(alone, alone.base_model_prefix, inner)
    alone.set_output_embeddings(head)
    if any(part.is_meta for part in (*alone.parameters(), *alone.buffers())):
        return hf_model
    alone.config = copy.deepcopy(config)
    alone.config.architectures = [type(alone).__name__]
    alone.generation_config = hf_model.generation_config
    return alone.eval()


def no_gate(name: Any, reason: str) -> CulnigError:
    """The error that says why a model has no gate site."""
    return CulnigError(f"model {name} has no gate site: {reason}; choose a model with a gated MLP")
