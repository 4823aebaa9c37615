"""What a study is: its arguments, checked, and the two presets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import DTYPES, FORMATS, MODEL_CLASSES, AnswerFormat, Dtype, ModelClass
from culnig_tl.models.embedded import EMBEDDED_NAME
from culnig_tl.neurons.scores import TARGETS, VARIANTS, Target, Variant
from culnig_tl.neurons.selection import check_least_z
from culnig_tl.tasks import task_of
from culnig_tl.tasks.countries import country_name


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
    model_class: ModelClass = "auto"
    dtype: Dtype = "float32"
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
    answer_format: AnswerFormat = "auto"
    limit: int = 256
    test_limit: int = 256
    focus_limit: int = 0
    rc_limit: int = 96
    other_limit: int = 40
    variant: Variant = "max"
    target: Target | None = None
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
        check_count(name, given[name], least=1)
    if given["token_budget"] is not None:
        check_count("token_budget", given["token_budget"], least=1)
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


def evaluation_budget(study: Study) -> int | None:
    """Tokens in a batch of an evaluation: without gradients twice as many fit."""
    return None if study.token_budget is None else 2 * study.token_budget
