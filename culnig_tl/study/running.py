"""A whole run: score, select, mask, evaluate and report, in a folder that can be resumed."""

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from culnig_tl.files import clear_half_written, half_written, write_json
from culnig_tl.models.description import describe_model, layout_of
from culnig_tl.models.prompts import model_prompts
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.paths import check_inputs_outside, check_own_folder
from culnig_tl.processes import agreed, barrier, process_rank
from culnig_tl.provenance import package_versions
from culnig_tl.study import feasible
from culnig_tl.study.anew import clear_run
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import study_data
from culnig_tl.study.folder import (
    check_links,
    dataset_hashes,
    evaluation_file,
    missing_files,
    read_run_file,
    set_file,
    study_arguments,
    with_absolute_paths,
)
from culnig_tl.study.maskings import GENERAL, Masking, instances_of, study_maskings
from culnig_tl.study.once import (
    evaluation_once,
    scores_once,
    select_sets,
    write_stability,
)
from culnig_tl.study.run import Run, load_study_model
from culnig_tl.study.same_study import (
    changed_arguments,
    check_model,
    check_numbers,
    check_same_study,
)
from culnig_tl.study.top_neurons import note_writes

_log = logging.getLogger(__name__)


def run_study(study: Study, out: str | Path, *, anew: bool = False) -> Run:
    """Run the study into the folder `out`.

    1. What can only fail in the end is refused (`feasible`), and so is another study's folder.
    2. run.json notes what is run.
    3. Neurons are scored on the cultural instances, the control and CountryRC.
    4. The sets are selected; one without neurons is left out, with a warning.
    5. The tests are asked with each set masked.
    6. Tables (`study_tables`, CSV) and report.html come last.

    What the folder holds already is not done again: scores go on from their checkpoint,
    evaluations that are there are read. Arguments may change until they have been used
    (`same_study`). Of a run that has its report nothing is written.

    Args:
        anew: what a run and its steps left in the folder is deleted first (`clear_run`), whatever
            study it was of; files of others stay.

    Raises:
        CulnigError: bad input of any kind, what can only fail in the end, or the folder holds
            another study.

    Example:
        `run` is a finished run of a tiny model: of such a one nothing is done again.

        >>> again = run_study(run.study, run.folder)
        >>> list(again.table.columns[:4])
        ['items', 'questions', 'chance', 'original']
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
    about: dict[str, Any] = {}
    trust = study.trust_remote_code
    if agreed((out / "run.json").exists()) and not anew:
        about = read_run_file(out)
        check_same_study(out, about, study, datasets=datasets)
        same = not changed_arguments(about, study) and about["datasets"] == datasets
        whole = same and (out / "report.html").exists() and not missing_files(out, maskings)
        if agreed(whole):  # the report comes last: everything is there, unless it was deleted
            return Run.open(out, trust_remote_code=trust)
        check_numbers(out, about)
    _try_to_write(out)
    model = load_study_model(study)
    if about:
        check_model(out, about, describe_model(model))
    else:
        about = {"versions": package_versions(), "model": describe_model(model)}
    feasible.check_selection(study, layout_of(model))
    model_prompts(model, list(chain(*data.parts.values())), answer_format=study.answer_format)
    _begin(out, {**about, "arguments": arguments, "datasets": datasets}, anew=anew)
    scores = scores_once(out, model, data.scored, study=study)
    sets = select_sets(maskings, scores)
    _save_sets(out, maskings, sets)
    write_stability(out, [m for m in maskings if m.name in sets], scores)
    note_writes(out, model, sets[GENERAL], scores=scores["neuron"], study=study)
    maskings = [masking for masking in maskings if masking.select is None or masking.name in sets]
    for number, masking in enumerate(maskings):
        file, neurons = evaluation_file(out, masking.name), sets.get(masking.name)
        if not agreed(file.exists()):
            _log.info("evaluating %s (%d of %d)", masking.name, number + 1, len(maskings))
        asked = instances_of(masking, data)
        evaluation_once(file, lambda: model, asked, study=study, neurons=neurons)
    run = Run.open(out, trust_remote_code=trust)
    run.write_report()
    return run


def _try_to_write(out: Path) -> None:
    """Refuse a folder that cannot be written, before anything is loaded."""
    if not process_rank():
        with half_written(out / "run.json"):
            pass


def _begin(out: Path, about: dict[str, Any], *, anew: bool) -> None:
    """Note what is run, and clear away what killed processes left; `anew`: all of an earlier run.

    Where an earlier run of the folder asked for less, its report and table go first: they come
    last, and their presence says that everything is there.
    """
    if not process_rank():
        stay = clear_run(out) if anew else []
        if stay:
            _log.warning("%s: files that no run wrote stay, such as %s", out, stay[0].name)
        clear_half_written(out, deep=True)
        if not (out / "run.json").exists() or read_run_file(out) != about:
            for name in ("report.html", "table.csv"):
                (out / name).unlink(missing_ok=True)
            write_json(out / "run.json", about)
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
