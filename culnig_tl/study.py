"""A whole run: score, select, ablate, evaluate, report, in a folder that can be resumed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from culnig_tl.attribution import attribute
from culnig_tl.comparison import by_country, compare
from culnig_tl.embedded import EMBEDDED_NAME
from culnig_tl.errors import CulnigError
from culnig_tl.evaluation import evaluate
from culnig_tl.files import package_versions, read_json, write_atomically, write_json
from culnig_tl.instances import FOCUS_COUNTRIES, Instance, content_hash, country_name
from culnig_tl.models import HookedModel, describe_model, layout_of, load_model
from culnig_tl.neurons import NeuronSet
from culnig_tl.report import read_checks, write_report
from culnig_tl.scores import Scores
from culnig_tl.selection import select_general, select_random
from culnig_tl.tasks import load_task

SCORED = ("neuron", "control", "countryrc")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """The arguments of `run_study`; the defaults are the demo.

    `limit` caps the neuron (and control) instances, `test_limit` the cultural test, `rc_limit`
    CountryRC's neuron passages, `other_limit` each of the other tests; 0 takes all.
    `template_count` is how many of its own templates each test is asked with; a file in
    `templates` takes their place in `task`.
    """

    model: str = EMBEDDED_NAME
    model_class: str = "auto"
    dtype: str = "float32"
    device: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    task: str = "everyday"
    data: str | None = None
    countryrc_data: str | None = None
    templates: str | None = None
    template_count: int = 1
    countries: tuple[str, ...] | None = None
    answer_format: str = "auto"
    limit: int = 256
    test_limit: int = 256
    rc_limit: int = 96
    other_limit: int = 40
    variant: str = "max"
    top_mlp: float = 0.01
    top_attention: float = 0.002
    remove: float = 0.01
    control: bool = True
    countryrc: bool = True
    factor: float = 0.0
    seeds: int = 2
    matched: bool = False
    token_budget: int = 2048


def run_study(study: Study, out: str | Path) -> pd.DataFrame:
    """Run the study into the folder `out` and return `compare`'s table.

    What the folder holds already is not done again: scores go on from their checkpoint,
    evaluations that are there are read. `report.html` and `table.csv` come last.

    Raises:
        CulnigError: bad input of any kind, or the folder holds another study.
    """
    out = Path(out)
    if study.seeds < 1:
        raise CulnigError(f"seeds is {study.seeds}: give 1 or more random sets to compare with")
    data = _load_data(study)
    arguments = asdict(study) | {"countries": list(study.countries or []) or "all"}
    datasets = {
        name: {"instances": len(instances), "hash": content_hash(instances)}
        for name, instances in data.items()
    }
    before = read_json(out / "run.json") if (out / "run.json").exists() else None
    if before is not None:
        _check_same(before, arguments, datasets, out)
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
    scores = {name: _scored(model, study, data[name], name, out) for name in SCORED}
    neurons = select_general(
        scores["neuron"],
        scores["control"] if study.control else None,
        scores["countryrc"] if study.countryrc else None,
        study.variant,
        study.top_mlp,
        study.top_attention,
        study.remove,
    )
    neurons.save(out / "culture-general.json")
    tests = data["test"] + data["countryrc test"] + data["other tests"]
    random_sets = random_sets_of(neurons, arguments)
    for random_set in random_sets:
        random_set.save(out / f"{random_set.name}.json")
    sets = [None, neurons, *random_sets]
    frames = []
    for number, chosen in enumerate(sets):
        label = "original" if chosen is None else f"{chosen.name} masked"
        _log.info("evaluating %s (%d of %d)", label, number + 1, len(sets))
        frames.append(_evaluated(model, study, tests, chosen, out))
    return report_run(out, run, neurons, scores["neuron"], frames)


def read_run(out: str | Path) -> pd.DataFrame:
    """Write the table and the report of a finished run again, from its files alone.

    Raises:
        CulnigError: the folder holds no finished run.
    """
    out = Path(out)
    run = read_json(out / "run.json")
    neurons = NeuronSet.load(out / "culture-general.json")
    scores = Scores.load(_scores_file(out, "neuron"), neurons.layout)
    sets = [None, neurons, *random_sets_of(neurons, run["arguments"])]
    files = [_evaluation_file(out, chosen) for chosen in sets]
    missing = [file.stem for file in files if not file.exists()]
    if missing:
        raise CulnigError(
            f"{out} holds no evaluation of {missing[0]!r}: finish it with culnig run --out {out}"
        )
    frames = [read_evaluation(file) for file in files]
    return report_run(out, run, neurons, scores, frames)


def report_run(
    out: Path, run: dict[str, Any], neurons: NeuronSet, scores: Scores, frames: list[pd.DataFrame]
) -> pd.DataFrame:
    """Write table.csv, countries.csv and report.html; returns `compare`'s table."""
    original, masked, *random = frames
    table = compare(original, masked, random)
    probability = compare(original, masked, random, metric="probability")
    countries = by_country(original, masked, random)
    write_atomically(out / "table.csv", table.to_csv)
    write_atomically(out / "countries.csv", countries.to_csv)
    checks = read_checks(out / "verify")
    write_report(out / "report.html", run, neurons, scores, table, probability, countries, checks)
    return table


def cultural_instances(study: Study, split: str, limit: int) -> list[Instance]:
    """Instances of the study's own task; limit 0 takes all."""
    templates = study.templates or (study.template_count if split == "test" else None)
    return load_task(study.task, split, study.countries, limit or None, study.data, templates)


def study_of(out: Path) -> Study:
    """The arguments of a run, from its folder.

    Raises:
        CulnigError: the folder holds no run of this version.
    """
    arguments = dict(read_json(out / "run.json")["arguments"])
    countries = arguments.pop("countries")
    try:
        return Study(**arguments, countries=None if countries == "all" else tuple(countries))
    except TypeError as error:
        raise CulnigError(f"{out} is a run of another version ({error}): run it again") from error


def load_study_model(study: Study) -> HookedModel:
    """The study's model, hooked."""
    return load_model(
        study.model,
        study.model_class,
        study.dtype,
        study.device,
        study.revision,
        study.trust_remote_code,
    )


def random_sets_of(neurons: NeuronSet, arguments: Mapping[str, Any]) -> list[NeuronSet]:
    """The run's random sets: seeds 0, 1, ..., so that they need not be read back."""
    seeds, matched = range(arguments["seeds"]), arguments["matched"]
    return [select_random(neurons, seed, matched) for seed in seeds]


def write_evaluation(frame: pd.DataFrame, path: Path) -> None:
    """Save a frame of `evaluate` as CSV, atomically."""
    write_atomically(path, lambda name: frame.to_csv(name, index=False))


def read_evaluation(path: Path) -> pd.DataFrame:
    """Read what `write_evaluation` wrote.

    Raises:
        CulnigError: the file cannot be read as such.
    """
    text = dict.fromkeys(("id", "task", "country", "answer", "predicted"), str)
    try:
        return pd.read_csv(path, dtype=text, keep_default_na=False)  # type: ignore[arg-type]
    except (OSError, ValueError) as error:
        raise CulnigError(f"cannot read evaluation {path}: {error}; delete it") from error


def _load_data(study: Study) -> dict[str, list[Instance]]:
    countries = None if study.countries is None else list(map(country_name, study.countries))
    targets = [c for c in FOCUS_COUNTRIES if countries is None or c in countries] or countries

    def load(task: str, split: str, limit: int, **options: Any) -> list[Instance]:
        return load_task(task, split, limit=limit or None, **options)

    passages = {"countries": targets, "data": study.countryrc_data}
    wording = {"templates": study.template_count}
    return {
        "neuron": cultural_instances(study, "neuron", study.limit),
        "control": cultural_instances(study, "control", study.limit),
        "countryrc": load("countryrc", "neuron", study.rc_limit, **passages),
        "test": cultural_instances(study, "test", study.test_limit),
        "countryrc test": load("countryrc", "test", study.other_limit, **passages, **wording),
        "other tests": load("commonsense", "test", study.other_limit, **wording)
        + load("paraphrase", "test", study.other_limit, **wording),
    }


def _check_writable(out: Path) -> None:
    probe = out / ".writable"
    write_atomically(probe, lambda name: name.write_text(""))
    probe.unlink()


def _check_same(before: dict, arguments: dict, datasets: dict, out: Path) -> None:
    """Refuse to go on in a folder that holds another study; a later argument has its default."""
    for key, value in arguments.items():
        held = before["arguments"].get(key, getattr(Study, key))
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


def _evaluation_file(out: Path, neurons: NeuronSet | None) -> Path:
    name = "original" if neurons is None else neurons.name
    return out / "evaluations" / f"{name}.csv"


def _scored(
    model: HookedModel, study: Study, instances: Sequence[Instance], name: str, out: Path
) -> Scores:
    file = _scores_file(out, name)
    if file.exists():
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
    checkpoint.unlink(missing_ok=True)
    return scores


def _evaluated(
    model: HookedModel,
    study: Study,
    instances: Sequence[Instance],
    neurons: NeuronSet | None,
    out: Path,
) -> pd.DataFrame:
    file = _evaluation_file(out, neurons)
    if not file.exists():
        # Without gradients twice the tokens fit.
        budget = 2 * study.token_budget
        frame = evaluate(model, instances, neurons, study.factor, study.answer_format, budget)
        write_evaluation(frame, file)
    # Read back also when it was just made, so that a resumed run sees the same numbers.
    return read_evaluation(file)
