"""A whole run: score, select, ablate, evaluate, report, in a folder that can be resumed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from culnig_tl.analysis.evaluations import read_evaluation, write_evaluation
from culnig_tl.checks import shown
from culnig_tl.errors import CulnigError, EmptySelection
from culnig_tl.files import clear_half_written, half_written, write_json
from culnig_tl.frames import write_frame
from culnig_tl.measure.attribution import attribute
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import describe_model, layout_of, tokenizer_of
from culnig_tl.models.loading import load_hf_model, load_model
from culnig_tl.models.prompts import model_prompts, resolve_format
from culnig_tl.models.sums import remove_checkpoint
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.paths import check_inputs_outside, check_own_folder
from culnig_tl.processes import agreed, barrier, process_rank
from culnig_tl.provenance import package_versions
from culnig_tl.schemas import damaged
from culnig_tl.study import feasible
from culnig_tl.study.arguments import Study, evaluation_budget
from culnig_tl.study.data import SCORED, study_data
from culnig_tl.study.folder import (
    changed_arguments,
    check_data,
    check_links,
    check_model,
    check_numbers,
    check_same_study,
    check_scores,
    check_set,
    dataset_hashes,
    evaluation_file,
    read_run_file,
    scores_file,
    set_file,
    study_arguments,
    study_of,
    with_absolute_paths,
)
from culnig_tl.study.maskings import GENERAL, Masking, instances_of, study_maskings
from culnig_tl.study.report import read_checks, read_finetunings, read_methods, write_report
from culnig_tl.study.tables import study_tables
from culnig_tl.tasks.instances import Instance, content_hash

_log = logging.getLogger(__name__)


def run_study(study: Study, out: str | Path) -> pd.DataFrame:
    """Run the study into the folder `out` and return `compare`'s table.

    What the folder holds already is not done again: scores go on from their checkpoint,
    evaluations that are there are read. Arguments may change until they have been used
    (`folders`). A set without neurons is left out, with a warning. The tables (`study_tables`,
    CSV) and `report.html` come last; of a run that has them only the table is read, and nothing
    is written.

    Raises:
        CulnigError: bad input of any kind, what can only fail in the end (`feasible`), or the
            folder holds another study.
    """
    out, study = Path(out), with_absolute_paths(study)
    maskings = study_maskings(study)
    inputs = {f"data of {task}": path for task, path in study.data.items()}
    inputs |= {"templates": study.templates, "model": study.model}
    check_inputs_outside(out, inputs)
    check_own_folder(out, "run.json")
    check_links(out)
    data = study_data(study)
    feasible.check_data(study, maskings, data)
    arguments, datasets = study_arguments(study), dataset_hashes(data)
    run: dict[str, Any] = {}
    if agreed((out / "run.json").exists()):
        run = read_run_file(out)
        check_same_study(out, run, study, datasets=datasets)
        same = not changed_arguments(run, study) and run["datasets"] == datasets
        whole = same and (out / "report.html").exists() and not _missing(out, maskings)
        if agreed(whole):  # the report comes last: everything is there, unless it was deleted
            return read_run(out)
        check_numbers(out, run)
    _try_to_write(out)
    model = load_study_model(study)
    if run:
        check_model(out, run, describe_model(model))
    else:
        run = {"versions": package_versions(), "model": describe_model(model)}
    feasible.check_selection(study, layout_of(model))
    model_prompts(model, list(chain(*data.values())), answer_format=study.answer_format)
    _begin(out, {**run, "arguments": arguments, "datasets": datasets})
    scores = {name: score_once(model, study, data[name], name=name, out=out) for name in SCORED}
    sets = select_sets(maskings, scores)
    _save_sets(out, maskings, sets)
    maskings = [masking for masking in maskings if masking.select is None or masking.name in sets]
    for number, masking in enumerate(maskings):
        file = evaluation_file(out, masking.name)
        if not agreed(file.exists()):
            _log.info("evaluating %s (%d of %d)", masking.name, number + 1, len(maskings))
        evaluate_once(
            model, study, instances_of(masking, data), neurons=sets.get(masking.name), file=file
        )
    return write_run_report(out)


def read_run(out: str | Path) -> pd.DataFrame:
    """`compare`'s table of a finished run, from its files alone; nothing is written.

    Raises:
        CulnigError: the folder holds no finished run.
    """
    maskings, sets, _, frames = _finished(Path(out))
    return study_tables(maskings, sets, frames)["table"]


def write_run_report(out: str | Path) -> pd.DataFrame:
    """Write the tables and the report of a finished run again, from its files alone.

    Returns:
        `compare`'s table.

    Raises:
        CulnigError: the folder holds no finished run, or it cannot be written.
    """
    out = Path(out)
    check_links(out)
    maskings, sets, scores, frames = _finished(out)
    tables = study_tables(maskings, sets, frames)
    for name, table in tables.items():
        write_frame(table, out / f"{name}.csv", index=True)
    specific = [sets[m.name] for m in maskings if m.kind == "specific"]
    write_report(
        out / "report.html",
        read_run_file(out),
        sets[GENERAL],
        scores=scores,
        tables=tables,
        specific=specific,
        checks=read_checks(out / "verify"),
        methods=read_methods(out / "methods"),
        finetunings=read_finetunings(out / "finetune"),
    )
    return tables["table"]


def _finished(
    out: Path,
) -> tuple[list[Masking], dict[str, NeuronSet], Scores, dict[str, pd.DataFrame]]:
    """The maskings, sets, cultural scores and evaluations of a finished run."""
    run, study = read_run_file(out), study_of(out)
    scores = Scores.load(scores_file(out, "neuron"))
    missing = _missing(out, study_maskings(study))
    if missing:
        raise CulnigError(f"{out} holds no {missing[0]}: finish it with culnig run --out {out}")
    # Others had no neurons.
    maskings = [m for m in study_maskings(study) if evaluation_file(out, m.name).exists()]
    files = {m.name: set_file(out, m.name) for m in maskings if m.select is not None}
    sets = {
        name: _named(file, NeuronSet.load(file, layout=scores.layout))
        for name, file in files.items()
    }
    frames = {m.name: read_evaluation(evaluation_file(out, m.name)) for m in maskings}
    _check_rows(out, run, maskings, frames=frames)
    return maskings, sets, scores, frames


def load_study_model(study: Study) -> HookedModel:
    """The study's model, hooked."""
    return load_model(
        study.model,
        model_class=study.model_class,
        dtype=study.dtype,
        device=study.device,
        revision=study.revision,
        trust_remote_code=study.trust_remote_code,
        devices=study.devices,
    )


def load_study_hf_model(study: Study, *, devices: int = 1) -> tuple[Any, Any]:
    """The Hugging Face model behind it, and its tokenizer."""
    return load_hf_model(
        study.model,
        dtype=study.dtype,
        revision=study.revision,
        trust_remote_code=study.trust_remote_code,
        devices=devices,
    )


def _named(file: Path, neurons: NeuronSet) -> NeuronSet:
    """The set, if it has the name of its file: other files are called by it."""
    if neurons.name != file.stem:
        raise damaged(file, f"its set is named {shown(neurons.name)}, expected {file.stem!r}")
    return neurons


def check_own_data(out: Path, run: Mapping[str, Any], study: Study) -> None:
    """Refuse when the data of the study's own task, or of CountryRC, are not those of the run.

    Raises:
        CulnigError: they are not.
    """
    known = {key: path for key, path in study.data.items() if key in (study.task, "countryrc")}
    check_data(out, run, study_data(replace(study, tests=(), data=known)))


def run_sets(out: Path, kind: str) -> list[NeuronSet]:
    """The sets of one kind of a finished run (`Masking.kind`).

    Raises:
        CulnigError: one is of another model than the run.
    """
    run = read_run_file(out)
    files = [set_file(out, m.name) for m in study_maskings(study_of(out)) if m.kind == kind]
    sets = {file: _named(file, NeuronSet.load(file)) for file in files if file.exists()}
    return [check_set(file, neurons, run) for file, neurons in sets.items()]


def run_scores(out: Path, *, run: Mapping[str, Any] | None = None) -> dict[str, Scores]:
    """The scores of a run by name (`SCORED`); with `run`, its run.json, refuse those of another.

    Raises:
        CulnigError: it has not come as far, or they are of another model or other data.
    """
    found = {name: Scores.load(scores_file(out, name)) for name in SCORED}
    if run is not None:
        for name, scores in found.items():
            hashed = run["datasets"][name]["hash"]
            check_scores(scores_file(out, name), scores, run["model"], dataset=hashed, arguments={})
    return found


def select_sets(maskings: Sequence[Masking], scores: Mapping[str, Scores]) -> dict[str, NeuronSet]:
    """The sets of these maskings by name.

    Those without neurons are left out, with a warning; the culture-general one may not be.

    Raises:
        CulnigError: it has no neurons.
    """
    sets: dict[str, NeuronSet] = {}
    for masking in maskings:
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
    model: HookedModel, study: Study, instances: Sequence[Instance], *, name: str, out: Path
) -> Scores:
    """The scores of `name` in the folder `out`, made as the study says if they are not there."""
    file = scores_file(out, name)
    about, hashed = describe_model(model), content_hash(list(instances))
    if agreed(file.exists()):
        scores = Scores.load(
            file, layout=layout_of(model), model=about["name"], dataset_hash=hashed
        )
        answer_format = resolve_format(tokenizer_of(model), study.answer_format)
        return check_scores(
            file, scores, about, dataset=hashed, arguments={"answer_format": answer_format}
        )
    _log.info("scoring %d instances: %s", len(instances), name)
    checkpoint = file.with_suffix(".checkpoint")
    scores = attribute(
        model,
        instances,
        answer_format=study.answer_format,
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
    *,
    neurons: NeuronSet | None,
    file: Path,
) -> pd.DataFrame:
    """The evaluation in `file`, made as the study says if it is not there.

    Read back also when it was just made, so that a resumed run sees the same numbers.

    Raises:
        CulnigError: the file is of other instances, or as `evaluate`.
    """
    if not agreed(file.exists()):
        budget = evaluation_budget(study)
        frame = evaluate(
            model,
            instances,
            neurons,
            factor=study.factor,
            answer_format=study.answer_format,
            token_budget=budget,
        )
        write_evaluation(frame, file)
        barrier()  # it is there
    frame = read_evaluation(file)
    if list(zip(frame["task"], frame["id"], strict=True)) != [(i.task, i.id) for i in instances]:
        raise CulnigError(f"{file} is of other instances than are asked: delete it")
    return frame


def _missing(out: Path, maskings: Sequence[Masking]) -> list[str]:
    """What a finished run would hold and this folder does not.

    Only a set that was left out, as it had no neurons, has neither a file nor an evaluation.
    """
    missing = []
    for masking in maskings:
        files = {f"evaluation of {masking.name!r}": evaluation_file(out, masking.name)}
        if masking.select is not None:
            files[f"set {masking.name!r}"] = set_file(out, masking.name)
        absent = [what for what, file in files.items() if not file.exists()]
        if masking.kind in ("original", "general") or len(absent) < len(files):
            missing += absent
    return missing


def _check_rows(
    out: Path,
    run: Mapping[str, Any],
    maskings: Sequence[Masking],
    *,
    frames: Mapping[str, pd.DataFrame],
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
                evaluation_file(out, "original"),
                f"{counts.get(task, 0)} rows of {task}, expected {about['instances']}",
            )
    asked_of = {tuple(row) for row in original[key].to_numpy()}
    for masking in maskings:
        frame = frames[masking.name]
        some = masking.kind in ("specific", "sweep")
        strange = [row for row in map(tuple, frame[key].to_numpy()) if row not in asked_of]
        if strange or not (some or frame[key].equals(original[key])):
            what = f"asks {shown(strange[0])}" if strange else f"{len(frame)} rows"
            raise damaged(
                evaluation_file(out, masking.name),
                f"{what}, expected the {len(original)} questions of original.csv in their order",
            )


def _try_to_write(out: Path) -> None:
    """Refuse a folder that cannot be written, before anything is loaded."""
    if not process_rank():
        with half_written(out / "run.json"):
            pass


def _begin(out: Path, run: dict[str, Any]) -> None:
    """Note what is run, and clear away what killed processes left.

    Where an earlier run of the folder asked for less, its report and table go first: they come
    last, and their presence says that everything is there.
    """
    if not process_rank():
        clear_half_written(out, deep=True)
        if not (out / "run.json").exists() or read_run_file(out) != run:
            for name in ("report.html", "table.csv"):
                (out / name).unlink(missing_ok=True)
            write_json(out / "run.json", run)
    barrier()  # it is there


def _save_sets(out: Path, maskings: Sequence[Masking], sets: Mapping[str, NeuronSet]) -> None:
    """Write the sets; a file of one that has no neurons, by other arguments before, goes."""
    for neurons in sets.values():
        neurons.save(set_file(out, neurons.name))
    if not process_rank():
        for masking in maskings:
            if masking.name not in sets:
                set_file(out, masking.name).unlink(missing_ok=True)
    barrier()  # the sets are there
