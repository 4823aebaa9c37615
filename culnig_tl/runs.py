"""A whole run: score, select, ablate, evaluate, report, in a folder that can be resumed."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from culnig_tl.attribution import attribute
from culnig_tl.checkpoints import remove_checkpoint
from culnig_tl.errors import CulnigError, EmptySelection
from culnig_tl.evaluation import evaluate
from culnig_tl.files import package_versions, read_json, write_atomically, write_json
from culnig_tl.frames import read_frame, write_frame
from culnig_tl.instances import Instance, content_hash
from culnig_tl.models import HookedModel, describe_model, layout_of, load_hf_model, load_model
from culnig_tl.neurons import NeuronSet
from culnig_tl.processes import agreed
from culnig_tl.report import read_checks, read_finetunings, read_methods, write_report
from culnig_tl.results import study_tables
from culnig_tl.scores import Scores
from culnig_tl.study import (
    GENERAL,
    SCORED,
    Masking,
    Study,
    asked,
    evaluation_budget,
    maskings,
    study_data,
    study_of,
)

_log = logging.getLogger(__name__)
WHERE_IT_RUNS = ("device", "devices", "token_budget")  # arguments that no result depends on


def run_study(study: Study, out: str | Path) -> pd.DataFrame:
    """Run the study into the folder `out` and return `compare`'s table.

    What the folder holds already is not done again: scores go on from their checkpoint,
    evaluations that are there are read. A set without neurons is left out, with a warning. The
    tables (`study_tables`, CSV) and `report.html` come last.

    Raises:
        CulnigError: bad input of any kind, or the folder holds another study.
    """
    out = Path(out)
    made = maskings(study)
    data = study_data(study)
    arguments = json.loads(json.dumps(asdict(study)))  # as they come back from the file
    datasets = {
        name: {"instances": len(instances), "hash": content_hash(instances)}
        for name, instances in data.items()
    }
    if agreed((out / "run.json").exists()):
        _check_same(read_json(out / "run.json"), arguments, datasets, out)
        if agreed((out / "report.html").exists()):  # it comes last: everything is there
            return read_run(out)
    else:
        _check_writable(out)
    model = load_study_model(study)
    run = {
        "arguments": arguments,
        "datasets": datasets,
        "versions": package_versions(),
        "model": describe_model(model),
    }
    write_json(out / "run.json", run)
    scores = {name: score_once(model, study, data[name], name, out) for name in SCORED}
    sets = select_sets(made, scores)
    for neurons in sets.values():
        neurons.save(_set_file(out, neurons.name))
    agreed(None)  # the sets are there
    made = [masking for masking in made if masking.select is None or masking.name in sets]
    for number, masking in enumerate(made):
        file = _evaluation_file(out, masking.name)
        if not agreed(file.exists()):
            _log.info("evaluating %s (%d of %d)", masking.name, number + 1, len(made))
            evaluate_once(model, study, asked(masking, data), sets.get(masking.name), file)
    return read_run(out)


def read_run(out: str | Path) -> pd.DataFrame:
    """Write the tables and the report of a finished run again, from its files alone.

    Returns:
        `compare`'s table.

    Raises:
        CulnigError: the folder holds no finished run.
    """
    out = Path(out)
    run, study = read_json(out / "run.json"), study_of(out)
    scores = Scores.load(_scores_file(out, "neuron"))
    made, sets = [], {}
    for masking in maskings(study):
        if masking.select is not None and not _set_file(out, masking.name).exists():
            continue  # it had no neurons; or the run is not finished, which its evaluation tells
        made.append(masking)
        if masking.select is not None:
            sets[masking.name] = NeuronSet.load(_set_file(out, masking.name), scores.layout)
    missing = [m.name for m in made if not _evaluation_file(out, m.name).exists()]
    if missing or GENERAL not in sets:
        raise CulnigError(
            f"{out} holds no evaluation of {(missing or [GENERAL])[0]!r}: finish it with culnig "
            f"run --out {out}"
        )
    frames = {m.name: read_evaluation(_evaluation_file(out, m.name)) for m in made}
    tables = study_tables(made, sets, frames)
    for name, table in tables.items():
        write_frame(table, out / f"{name}.csv", index=True)
    specific = [sets[m.name] for m in made if m.kind == "specific"]
    write_report(
        out / "report.html",
        run,
        sets[GENERAL],
        scores,
        tables,
        specific,
        read_checks(out / "verify"),
        read_methods(out / "methods"),
        read_finetunings(out / "finetune"),
    )
    return tables["table"]


def load_study_model(study: Study) -> HookedModel:
    """The study's model, hooked."""
    return load_model(
        study.model,
        study.model_class,
        study.dtype,
        study.device,
        study.revision,
        study.trust_remote_code,
        study.devices,
    )


def load_study_hf_model(study: Study, devices: int = 1) -> tuple[Any, Any]:
    """The Hugging Face model behind it, and its tokenizer."""
    return load_hf_model(study.model, study.dtype, study.revision, study.trust_remote_code, devices)


def run_sets(out: Path, kind: str) -> list[NeuronSet]:
    """The sets of one kind of a finished run (`Masking.kind`)."""
    files = [_set_file(out, m.name) for m in maskings(study_of(out)) if m.kind == kind]
    return [NeuronSet.load(file) for file in files if file.exists()]


def run_scores(out: Path) -> dict[str, Scores]:
    """The scores of a run by name (`SCORED`).

    Raises:
        CulnigError: it has not come as far.
    """
    return {name: Scores.load(_scores_file(out, name)) for name in SCORED}


def select_sets(made: Sequence[Masking], scores: Mapping[str, Scores]) -> dict[str, NeuronSet]:
    """The sets of these maskings by name.

    Those without neurons are left out, with a warning; the culture-general one may not be.

    Raises:
        CulnigError: it has no neurons.
    """
    sets: dict[str, NeuronSet] = {}
    for masking in made:
        if masking.select is None:
            continue
        try:
            sets[masking.name] = masking.select(scores, sets.get(GENERAL))
        except EmptySelection as error:
            if masking.kind == "general":
                raise
            _log.warning("left out: %s", error)
    return sets


def score_once(
    model: HookedModel, study: Study, instances: Sequence[Instance], name: str, out: Path
) -> Scores:
    """The scores of `name` in the folder `out`, made as the study says if they are not there."""
    file = _scores_file(out, name)
    if agreed(file.exists()):
        return Scores.load(
            file, layout_of(model), describe_model(model)["name"], content_hash(list(instances))
        )
    _log.info("scoring %d instances: %s", len(instances), name)
    checkpoint = file.with_suffix(".checkpoint")
    scores = attribute(
        model,
        instances,
        study.answer_format,
        token_budget=study.token_budget,
        checkpoint=checkpoint,
    )
    scores.save(file)
    remove_checkpoint(checkpoint)
    return scores


def evaluate_once(
    model: HookedModel,
    study: Study,
    instances: Sequence[Instance],
    neurons: NeuronSet | None,
    file: Path,
) -> pd.DataFrame:
    """The evaluation in `file`, made as the study says if it is not there.

    Read back also when it was just made, so that a resumed run sees the same numbers.
    """
    if not agreed(file.exists()):
        budget = evaluation_budget(study)
        frame = evaluate(model, instances, neurons, study.factor, study.answer_format, budget)
        write_evaluation(frame, file)
        agreed(None)  # it is there
    return read_evaluation(file)


def check_finished(out: Path) -> None:
    """Refuse a folder without a finished run.

    Raises:
        CulnigError: it holds none.
    """
    if not (out / "table.csv").exists():
        raise CulnigError(f"{out} holds no finished run: finish it with culnig run --out {out}")


def check_arguments(file: Path, arguments: Mapping[str, Any]) -> None:
    """Refuse to go on where `file` notes other arguments, else note these in it.

    Raises:
        CulnigError: they differ; the message has both.
    """
    if file.exists():
        before = read_json(file)
        for key, value in arguments.items():
            if before.get(key) != value:
                raise CulnigError(
                    f"{file.parent} was made with {key} = {before.get(key)}, this asks for "
                    f"{value}: give the same, or delete that folder"
                )
    write_json(file, dict(arguments))


def write_evaluation(frame: pd.DataFrame, path: Path) -> None:
    """Save a frame of `evaluate` as CSV, atomically."""
    write_frame(frame, path)


def read_evaluation(path: Path) -> pd.DataFrame:
    """Read what `write_evaluation` wrote.

    Raises:
        CulnigError: the file cannot be read as such.
    """
    return read_frame(path, text=("question",))


def _check_writable(out: Path) -> None:
    probe = out / ".writable"
    write_atomically(probe, lambda name: name.write_text(""))
    probe.unlink(missing_ok=True)


def _check_same(before: dict, arguments: dict, datasets: dict, out: Path) -> None:
    """Refuse to go on in a folder that holds another study; a later argument has its default.

    On another device, or with smaller batches, a run goes on.
    """
    defaults = json.loads(json.dumps(asdict(Study())))
    for key, value in arguments.items():
        if key in WHERE_IT_RUNS:
            continue
        held = before["arguments"].get(key, defaults[key])
        if held != value:
            raise CulnigError(
                f"{out} holds a run with {key} = {held!r}, this one has "
                f"{value!r}: choose another folder with --out, or delete it"
            )
    for key, value in datasets.items():
        if before["datasets"].get(key) != value:
            raise CulnigError(
                f"{out} holds a run on other data ({key}: {before['datasets'].get(key)}, now "
                f"{value}): choose another folder with --out, or delete it"
            )


def _scores_file(out: Path, name: str) -> Path:
    return out / "scores" / f"{name}.safetensors"


def _set_file(out: Path, name: str) -> Path:
    return out / "sets" / f"{name}.json"


def _evaluation_file(out: Path, name: str) -> Path:
    return out / "evaluations" / f"{name}.csv"
