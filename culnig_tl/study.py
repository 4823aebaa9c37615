"""What a study is: its arguments, its data, and the sets of neurons that it masks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from culnig_tl.checks import (
    SETS_MOST,
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_share,
    check_text,
    shown,
)
from culnig_tl.embedded import EMBEDDED_NAME
from culnig_tl.errors import CulnigError
from culnig_tl.instances import COUNTRIES, FOCUS_COUNTRIES, Instance, country_name
from culnig_tl.models import DTYPES, MODEL_CLASSES
from culnig_tl.neurons import NeuronSet
from culnig_tl.prompts import FORMATS
from culnig_tl.schemas import damaged, read_object
from culnig_tl.scores import TARGETS, VARIANTS, Scores
from culnig_tl.selection import check_least_z, select_general, select_random, select_specific
from culnig_tl.tasks import load_task, task_of

SCORED = ("neuron", "control", "countryrc")
GENERAL = "culture-general"
SWEEP_TOP = (0.0025, 0.005, 0.01, 0.02)
SWEEP_REMOVE = (0.0, 0.01, 0.03)
SWEEP_ITEMS = 400
_RUN = {
    "arguments": dict,
    "datasets": {...: {"instances": int, "hash": str}},
    "versions": {...: str},
    "model": {"name": str},
}
_MEND = "put the original back, or make the run again in another folder"


@dataclass(frozen=True)
class Study:
    """The arguments of `run_study`; the defaults are the demo.

    Attributes:
        devices: over how many GPUs the model is spread.
        task: where neurons are found, and the first test.
        tests: the other tasks to test on.
        data: by task, a local file or folder in place of the Hub's.
        templates: a JSON file of the task's templates.
        template_count: with how many of its own templates each test is asked.
        countries: only these; None takes all that a task has.
        limit: at most so many neuron (and control) instances; 0 takes all, as in all limits.
        test_limit: of the task's test instances.
        focus_limit: of those of the focus countries; `test_limit` is then for the others. 0 does
            not tell them apart.
        rc_limit: of CountryRC's neuron passages.
        other_limit: items of each of the other tests.
        target: what is differentiated, one of `TARGETS`; None takes that of the answer format
            (`DEFAULT_TARGETS`).
        seeds, matched_seeds: random sets, uniform and with the same count per site and layer.
        specific: also the culture-specific sets of the focus countries (`top`, `least_z`).
        ablations: also the other score variants, without control, without CountryRC, MLP only,
            attention only.
        sweep: also sets of other shares, each on 400 items of the task.
        token_budget: tokens in a batch when scoring, twice as many in evaluations; None takes
            what fits into the free memory.

    Raises:
        CulnigError: as `check_study`, before anything is loaded.
    """

    model: str = EMBEDDED_NAME
    model_class: str = "auto"
    dtype: str = "float32"
    device: str | None = None
    devices: int = 1
    revision: str | None = None
    trust_remote_code: bool = False
    task: str = "everyday"
    tests: tuple[str, ...] = ("countryrc", "commonsense", "paraphrase")
    data: Mapping[str, str] = field(default_factory=dict)
    templates: str | None = None
    template_count: int = 1
    countries: tuple[str, ...] | None = None
    answer_format: str = "auto"
    limit: int = 256
    test_limit: int = 256
    focus_limit: int = 0
    rc_limit: int = 96
    other_limit: int = 40
    variant: str = "max"
    target: str | None = None
    top_mlp: float = 0.01
    top_attention: float = 0.002
    remove: float = 0.01
    control: bool = True
    countryrc: bool = True
    top: float = 0.003
    least_z: float = 0.5
    factor: float = 0.0
    seeds: int = 2
    matched_seeds: int = 0
    specific: bool = False
    ablations: bool = False
    sweep: bool = False
    token_budget: int | None = None

    def __post_init__(self) -> None:
        check_study(vars(self))


def check_study(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of a `Study` that could only fail later; a file's may be of any type.

    Raises:
        CulnigError: the first that is wrong: what it is, and what would be right.
    """
    given = arguments
    check_text("model", given["model"])
    for name in ("device", "revision", "templates"):
        if given[name] is not None:
            check_text(name, given[name])
    for what, name, choices in (
        ("model class", "model_class", MODEL_CLASSES),
        ("dtype", "dtype", DTYPES),
        ("answer format", "answer_format", FORMATS),
        ("score variant", "variant", VARIANTS),
        ("target", "target", TARGETS),
    ):
        if name != "target" or given[name] is not None:
            check_choice(what, given[name], choices)
    for name in ("limit", "test_limit", "focus_limit", "rc_limit", "other_limit"):
        check_count(name, given[name])
    for name in ("devices", "template_count"):
        check_count(name, given[name], 1)
    if given["token_budget"] is not None:
        check_count("token_budget", given["token_budget"], 1)
    for name in ("top_mlp", "top_attention", "remove", "top"):
        check_share(name, given[name])
    check_number("factor", given["factor"])
    check_least_z(given["least_z"])
    for name in ("trust_remote_code", "control", "countryrc", "specific", "ablations", "sweep"):
        check_flag(name, given[name])
    for name in ("seeds", "matched_seeds"):
        check_count(name, given[name], most=SETS_MOST)
    if not given["seeds"] and not given["matched_seeds"]:
        raise CulnigError(
            "seeds is 0: give 1 or more random sets to compare with (seeds or matched_seeds)"
        )
    if not given["top_mlp"] and not given["top_attention"]:
        raise CulnigError("top_mlp and top_attention are 0, which selects nothing: raise one")
    if given["countryrc"] and given["remove"] == 1:
        raise CulnigError("remove is 1, which leaves no neuron: give less")
    _check_tasks(given)


def _check_tasks(given: Mapping[str, Any]) -> None:
    """What is asked: the tasks, their data, and the countries."""
    for name in ("tests", "countries"):
        if not isinstance(given[name], tuple | list) and (name, given[name]) != ("countries", None):
            raise CulnigError(f"{name} is {shown(given[name])}: give a list of names")
    task_of(given["task"], "neuron")
    names = [given["task"], *given["tests"]]
    for name in names:
        task_of(name, "test")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise CulnigError(f"task {twice[0]!r} is named twice: name each test once")
    if not isinstance(given["data"], Mapping):
        raise CulnigError(f"data is {shown(given['data'])}: give a path for each task by name")
    for name, path in given["data"].items():
        if name not in {*names, "countryrc"}:
            raise CulnigError(
                f"data is given for {shown(name)}, which this run does not ask: it has "
                f"{', '.join(names)}"
            )
        check_text(f"the data of {name!r}", path)
    if given["countries"] is None:
        return
    countries = []
    for name in given["countries"]:
        check_text("a country", name)
        countries.append(country_name(name))
    if not countries:
        raise CulnigError("countries is empty: give one or more, or None for all")
    twice = [name for name in countries if countries.count(name) > 1]
    if twice:
        raise CulnigError(f"country {twice[0]!r} is named twice: name each once")


PRESETS = {
    "quick": Study(),
    "paper": Study(
        model="google/gemma-3-12b-it",
        dtype="bfloat16",
        task="blend",
        tests=(
            "culturalbench",
            "normad",
            "worldvaluesbench",
            "countryrc",
            "commonsenseqa",
            "qnli",
            "mrpc",
        ),
        template_count=4,
        limit=0,
        test_limit=0,
        rc_limit=0,
        other_limit=0,
        seeds=10,
        matched_seeds=10,
        specific=True,
        ablations=True,
        sweep=True,
    ),
}


@dataclass(frozen=True)
class Masking:
    """One evaluation of a study: a set of neurons by name, and how it comes from the scores.

    Attributes:
        name: the set's name; `original` for nothing masked.
        kind: `original`, `general`, `random`, `matched`, `specific`, `ablation` or `sweep`.
        select: from the scores of `SCORED` and the culture-general set; None masks nothing.
        about: what distinguishes it within its kind (a sweep's shares).
    """

    name: str
    kind: str
    select: Callable[[Mapping[str, Scores], NeuronSet | None], NeuronSet] | None
    about: Mapping[str, float] = field(default_factory=dict)


def evaluation_budget(study: Study) -> int | None:
    """Tokens in a batch of an evaluation: without gradients twice as many fit."""
    return None if study.token_budget is None else 2 * study.token_budget


def maskings(study: Study) -> list[Masking]:
    """All evaluations of the study, in the order in which they are made."""
    chosen: dict[str, Any] = {
        "variant": study.variant,
        "top_mlp": study.top_mlp,
        "top_attention": study.top_attention,
        "remove": study.remove,
        "control": study.control,
        "countryrc": study.countryrc,
    }

    def general(name: str, kind: str, about: Mapping[str, float], **changes: Any) -> Masking:
        now = chosen | changes

        def select(scores: Mapping[str, Scores], _: NeuronSet | None) -> NeuronSet:
            return select_general(
                scores["neuron"],
                scores["control"] if now["control"] else None,
                scores["countryrc"] if now["countryrc"] else None,
                now["variant"],
                now["top_mlp"],
                now["top_attention"],
                now["remove"],
                name,
                study.target,
            )

        return Masking(name, kind, select, about)

    def random(seed: int, matched: bool) -> Masking:
        def select(_: Mapping[str, Scores], like: NeuronSet | None) -> NeuronSet:
            assert like is not None
            return select_random(like, seed, matched)

        kind = "matched" if matched else "random"
        return Masking(f"random-{'matched-' if matched else ''}{seed}", kind, select)

    def specific(country: str) -> Masking:
        def select(scores: Mapping[str, Scores], _: NeuronSet | None) -> NeuronSet:
            return select_specific(
                scores["neuron"],
                scores["control"] if study.control else None,
                scores["countryrc"] if study.countryrc else None,
                country,
                study.variant,
                study.top,
                study.remove,
                study.least_z,
                target=study.target,
            )

        return Masking(country, "specific", select)

    made = [Masking("original", "original", None), general(GENERAL, "general", {})]
    made += [random(seed, False) for seed in range(study.seeds)]
    if study.specific:
        made += [specific(country) for country in passage_countries(study)]
    if study.ablations:
        made += [
            general(f"score {variant}", "ablation", {}, variant=variant)
            for variant in VARIANTS
            if variant != study.variant
        ]
        made += [
            general("without control", "ablation", {}, control=False),
            general("without CountryRC", "ablation", {}, countryrc=False),
            general("MLP only", "ablation", {}, top_attention=0.0),
            general("attention only", "ablation", {}, top_mlp=0.0),
        ]
    made += [random(seed, True) for seed in range(study.matched_seeds)]
    if study.sweep:
        ratio = study.top_attention / study.top_mlp if study.top_mlp else 1.0
        made += [
            general(
                f"sweep t={top} r={remove}",
                "sweep",
                {"t": top, "r": remove},
                top_mlp=top,
                top_attention=min(1.0, top * ratio),
                remove=remove,
            )
            for top in SWEEP_TOP
            for remove in SWEEP_REMOVE
        ]
    return made


def asked(masking: Masking, data: Mapping[str, list[Instance]]) -> list[Instance]:
    """What is asked with a set masked: all tests; a country's set, only what has countries; a
    sweep's set, a part of the task itself."""
    tests = [i for name, part in data.items() if name not in SCORED for i in part]
    if masking.kind == "specific":
        return [instance for instance in tests if instance.country is not None]
    if masking.kind == "sweep":
        # Every so many, as instances come in the order of their file.
        own = next(part for name, part in data.items() if name not in SCORED)
        return own[:: max(1, -(-len(own) // SWEEP_ITEMS))]
    return tests


def study_data(study: Study) -> dict[str, list[Instance]]:
    """The instances by use: `neuron`, `control`, `countryrc`, then `TASK test` for each test.

    Raises:
        CulnigError: as `load_task`.
    """
    passages = passage_countries(study)

    def load(
        task: str,
        split: str,
        limit: int,
        templates: int | str | None,
        countries: tuple[str, ...] | None = study.countries,
    ) -> list[Instance]:
        where = passages if task == "countryrc" else countries
        return load_task(task, split, where, limit or None, study.data.get(task), templates)

    data = {
        "neuron": load(study.task, "neuron", study.limit, study.templates),
        "control": load(study.task, "control", study.limit, study.templates),
        "countryrc": load("countryrc", "neuron", study.rc_limit, None),
    }
    own = study.templates or study.template_count
    groups: list[tuple[int, tuple[str, ...] | None]] = [(study.test_limit, study.countries)]
    if study.focus_limit:
        among = COUNTRIES if study.countries is None else map(country_name, study.countries)
        others = tuple(country for country in among if country not in passages)
        groups = [(study.focus_limit, passages), (study.test_limit, others)]
    data[f"{study.task} test"] = [
        instance
        for limit, countries in groups
        if countries != ()
        for instance in load(study.task, "test", limit, own, countries)
    ]
    for test in study.tests:
        data[f"{test} test"] = load(test, "test", study.other_limit, study.template_count)
    return data


def cultural_instances(study: Study, countries: tuple[str, ...] | None, limit: int) -> list:
    """Test instances of the study's own task; limit 0 takes all."""
    templates = study.templates or study.template_count
    data = study.data.get(study.task)
    return load_task(study.task, "test", countries, limit or None, data, templates)


def passage_countries(study: Study) -> tuple[str, ...]:
    """The countries of CountryRC and of the specific sets: the focus countries of the study."""
    if study.countries is None:
        return FOCUS_COUNTRIES
    countries = tuple(map(country_name, study.countries))
    return tuple(c for c in FOCUS_COUNTRIES if c in countries) or countries


def read_run_file(out: Path) -> dict[str, Any]:
    """What run.json in the folder of a run holds: arguments, datasets, model, versions.

    Raises:
        CulnigError: no such file, or a damaged one.
    """
    return read_object(Path(out) / "run.json", _RUN, _MEND)


def study_of(out: Path, trust_remote_code: bool = False) -> Study:
    """The arguments of a run, from its folder; what an earlier version did not have is as it is
    by default.

    All but one: code that comes with a model is run if the caller trusts it, whatever was said
    when the run was made, or is written in its file.

    Raises:
        CulnigError: the folder holds no run, one with arguments of a later version, or arguments
            that are none (`check_study`).
    """
    file = Path(out) / "run.json"
    given, defaults = read_object(file, {"arguments": dict}, _MEND)["arguments"], vars(Study())
    later = [key for key in given if key not in defaults]
    if later:
        raise CulnigError(
            f"{file} has an argument {shown(later[0])}, which this version does not know: use the "
            "version that made the run, or make it again in another folder"
        )
    arguments = defaults | given | {"trust_remote_code": trust_remote_code}
    try:
        check_study(arguments)
    except CulnigError as error:
        raise damaged(file, str(error), _MEND) from error
    for key in ("countries", "tests"):
        if arguments[key] is not None:
            arguments[key] = tuple(arguments[key])
    for key in ("top_mlp", "top_attention", "remove", "top", "least_z", "factor"):
        arguments[key] = float(arguments[key])
    return Study(**arguments)
