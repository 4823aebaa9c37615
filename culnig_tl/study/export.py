"""Export: a run's model with neurons scaled, as a Hugging Face folder that needs no hook."""

from pathlib import Path

from culnig_tl.checks import check_number
from culnig_tl.files import new_folder, write_json
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.provenance import package_versions
from culnig_tl.study.run import Run


def export_run(
    run: Run | str | Path,
    to: str | Path,
    *,
    neurons: NeuronSet | None = None,
    factor: float = 0.0,
    trust_remote_code: bool = False,
) -> NeuronSet:
    """Write a finished run's model with `neurons` scaled into the folder `to`.

    Any engine that reads Hugging Face folders runs it, `load_model` too. Beside the model lies
    neurons.json, the set, and export.json: the model it comes from, the factor, versions.

    Args:
        run: a finished run, or its folder.
        to: a folder that is not there yet.
        neurons: None takes the run's culture-general set.
        factor: 0 masks.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        The set that was scaled.

    Raises:
        CulnigError: not a finished run, `to` is there, or as `scale_weights`.
    """
    from culnig_tl.models.hf_files import copy_processor_files
    from culnig_tl.training.weights import scale_weights

    to = Path(to)
    check_number("factor", factor)
    run = Run.for_step(run, trust_remote_code=trust_remote_code, numbers=False)
    neurons = run.neurons if neurons is None else neurons
    require_same_model(neurons, run.neurons.layout)
    with new_folder(to) as half:
        hf_model, tokenizer = run.load_hf_model()
        scale_weights(hf_model, neurons, factor=factor)
        hf_model.save_pretrained(half)
        tokenizer.save_pretrained(half)
        copy_processor_files(hf_model, half)
        neurons.save(half / "neurons.json")
        about = {
            "model": run.study.model,
            "revision": run.pinned.revision,
            "factor": factor,
            "weights": run.about["model"].get("weights"),
            "versions": package_versions(),
        }
        write_json(half / "export.json", about)
    return neurons
