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
from culnig_tl.checks import shown
from culnig_tl.errors import CulnigError, EmptySelection
from culnig_tl.evaluation import evaluate
from culnig_tl.files import package_versions, write_atomically, write_json
from culnig_tl.frames import write_frame
from culnig_tl.instances import Instance, content_hash
from culnig_tl.models import HookedModel, describe_model, layout_of, load_hf_model, load_model
from culnig_tl.neurons import NeuronSet
from culnig_tl.processes import agreed
from culnig_tl.report import read_checks, read_finetunings, read_methods, write_report
from culnig_tl.results import study_tables
from culnig_tl.run_files import EVALUATION
from culnig_tl.schemas import damaged, read_frame, read_object
from culnig_tl.scores import Scores
from culnig_tl.study import (
    GENERAL,
    SCORED,
    Masking,
    Study,
    asked,
    evaluation_budget,
    maskings,
    read_run_file,
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
        _check_same(read_run_file(out), arguments, datasets, out)
        whole = (out / "report.html").exists() and not _missing(out, made)
        if agreed(whole):  # the report comes last: everything is there, unless it was deleted
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
    run, study = read_run_file(out), study_of(out)
    scores = Scores.load(_scores_file(out, "neuron"))
    missing = _missing(out, maskings(study))
    if missing:
        raise CulnigError(f"{out} holds no {missing[0]}: finish it with culnig run --out {out}")
    # Others had no neurons.
    made = [m for m in maskings(study) if _evaluation_file(out, m.name).exists()]
    files = {m.name: _set_file(out, m.name) for m in made if m.select is not None}
    sets = {name: _named(file, NeuronSet.load(file, scores.layout)) for name, file in files.items()}
    frames = {m.name: read_evaluation(_evaluation_file(out, m.name)) for m in made}
    _check_rows(out, run, made, frames)
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
    return [_named(file, NeuronSet.load(file)) for file in files if file.exists()]


def _named(file: Path, neurons: NeuronSet) -> NeuronSet:
    """The set, if it has the name of its file: other files are called by it."""
    if neurons.name != file.stem:
        raise damaged(file, f"its set is named {shown(neurons.name)}, expected {file.stem!r}")
    return neurons


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
        before = read_object(file, {})
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
        CulnigError: it is no such file: the row and column.
    """
    return read_frame(path, EVALUATION)


def _missing(out: Path, made: Sequence[Masking]) -> list[str]:
    """What a finished run would hold and this folder does not.

    Only a set that was left out, as it had no neurons, has neither a file nor an evaluation.
    """
    missing = []
    for masking in made:
        files = {f"evaluation of {masking.name!r}": _evaluation_file(out, masking.name)}
        if masking.select is not None:
            files[f"set {masking.name!r}"] = _set_file(out, masking.name)
        absent = [what for what, file in files.items() if not file.exists()]
        if masking.kind in ("original", "general") or len(absent) < len(files):
            missing += absent
    return missing


def _check_rows(
    out: Path, run: Mapping[str, Any], made: Sequence[Masking], frames: Mapping[str, pd.DataFrame]
) -> None:
    """Refuse evaluations with other rows than were asked, which only an edited file has.

    Raises:
        CulnigError: the file, and how many rows of a task it has or which it should not have.
    """
    key, original = ["task", "id", "country"], frames["original"]
    counts = original["task"].value_counts()
    for name, about in run["datasets"].items():
        task = name.removesuffix(" test")
        if task != name and counts.get(task, 0) != about["instances"]:
            raise damaged(
                _evaluation_file(out, "original"),
                f"{counts.get(task, 0)} rows of {task}, expected {about['instances']}",
            )
    asked_of = {tuple(row) for row in original[key].to_numpy()}
    for masking in made:
        frame = frames[masking.name]
        some = masking.kind in ("specific", "sweep")
        strange = [row for row in map(tuple, frame[key].to_numpy()) if row not in asked_of]
        if strange or not (some or frame[key].equals(original[key])):
            what = f"asks {shown(strange[0])}" if strange else f"{len(frame)} rows"
            raise damaged(
                _evaluation_file(out, masking.name),
                f"{what}, expected the {len(original)} questions of original.csv in their order",
            )


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
