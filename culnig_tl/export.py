"""Export: a model with neurons scaled, as an ordinary Hugging Face folder that needs no hook."""

from pathlib import Path
from typing import Any

import torch

from culnig_tl.checks import check_number
from culnig_tl.configs import config_layout
from culnig_tl.errors import CulnigError
from culnig_tl.files import new_folder, package_versions, write_json
from culnig_tl.folders import finished_study
from culnig_tl.model_files import copy_processor_files
from culnig_tl.modules import module_weights
from culnig_tl.neurons import NeuronSet
from culnig_tl.runs import load_study_hf_model, run_sets

# Where a site's rows are: its own matrix, and in the joint one after those of these sites.
_MATRICES = {
    "gate": ("MLP", "gate_proj", "gate_up_proj", ()),
    "q": ("attention", "q_proj", "qkv_proj", ()),
    "k": ("attention", "k_proj", "qkv_proj", ("q",)),
    "v": ("attention", "v_proj", "qkv_proj", ("q", "k")),
}


def scale_weights(hf_model: Any, neurons: NeuronSet, factor: float = 0.0) -> None:
    """Scale `neurons` in the weights of a Hugging Face model, in place.

    A neuron is an output of one matrix, so its activation times `factor` is its row of weights,
    and its bias, times `factor`: what `ablate` does by hooks.

    Raises:
        CulnigError: a set of another model, or a model without such matrices.
    """
    check_number("factor", factor)
    layout = config_layout(hf_model.config.get_text_config())
    neurons.check_layout(layout)
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


def export_run(
    out: str | Path,
    to: str | Path,
    neurons: NeuronSet | None = None,
    factor: float = 0.0,
    *,
    trust_remote_code: bool = False,
) -> NeuronSet:
    """Write a finished run's model with `neurons` scaled into the folder `to`.

    Any engine that reads Hugging Face folders runs it, `load_model` too. Beside the model lies
    neurons.json, the set, and export.json: the model it comes from, the factor, versions.

    Args:
        out: the folder of `run_study`.
        to: a folder that is not there yet.
        neurons: None takes the run's culture-general set.
        factor: 0 masks.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        The set that was scaled.

    Raises:
        CulnigError: not a finished run, `to` is there, or as `scale_weights`.
    """
    out, to = Path(out), Path(to)
    check_number("factor", factor)
    run, study = finished_study(out, numbers=False, trust_remote_code=trust_remote_code)
    (own,) = run_sets(out, "general")
    neurons = own if neurons is None else neurons
    neurons.check_layout(own.layout)
    with new_folder(to) as half:
        hf_model, tokenizer = load_study_hf_model(study)
        scale_weights(hf_model, neurons, factor)
        hf_model.save_pretrained(half)
        tokenizer.save_pretrained(half)
        copy_processor_files(hf_model, half)
        neurons.save(half / "neurons.json")
        about = {"model": study.model, "revision": study.revision, "factor": factor}
        about |= {"weights": run["model"].get("weights")}
        write_json(half / "export.json", about | {"versions": package_versions()})
    return neurons
