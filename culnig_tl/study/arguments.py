"""What a study is: its arguments, checked, and the two presets."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
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
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import (
    DTYPES,
    FORMATS,
    MODEL_CLASSES,
    AnswerFormat,
    Dtype,
    ModelClass,
)
from culnig_tl.models.embedded import EMBEDDED_NAME
from culnig_tl.neurons.estimates import ESTIMATES, Estimate
from culnig_tl.neurons.scores import TARGETS, VARIANTS, Target, Variant
from culnig_tl.neurons.selection import check_least_z
from culnig_tl.tasks import OWN, OWN_NAMES, TASKS, task_of
from culnig_tl.tasks.question_rows import given_file, questions_file

# Beside questions of your own.
OWN_TESTS = (OWN_NAMES, "commonsense", "paraphrase")
# Under what the options stand on the help page of `culnig run`, in this order.
PANELS = ASK, SELECT, COMPARE, WHERE = (
    "What to ask",
    "What to select",
    "What to compare with",
    "Where it runs",
)


def _option(help: str, panel: str, *, option: str | None = None, **default: Any) -> Any:
    """A field with what the command line says of it; `option` where that has another name."""
    return field(metadata={"help": help, "panel": panel, "option": option}, **default)


@dataclass(frozen=True)
class Study:
    """The arguments of `run_study`; the defaults are the demo. What each one is stands beside it.

    Attributes:
        data: by task, a local file or folder in place of the Hub's.
        focus_limit: 0 does not tell the focus countries apart.
        target: one of `TARGETS`; None takes that of the answer format (`DEFAULT_TARGETS`).
        ablations: the other score variants, without control, without CountryRC, MLP only,
            attention only.
        sweep: sets of other shares, each on 400 items of the task.
        token_budget: when scoring; twice as many in evaluations.

    Raises:
        CulnigError: as `check_study`, before anything is loaded.

    Example:
        >>> study = Study(task="blend", tests=(), groups=("Iran", "Spain"), seeds=5)
        >>> study.top_mlp
        0.01
    """

    model: str = _option(
        "gemma-3-270m or SmolLM2-135M-Instruct (embedded), a name on the Hub, or a folder.",
        ASK,
        default=EMBEDDED_NAME,
    )
    model_class: ModelClass = _option(
        "auto, HookedTransformer or TransformerBridge (TransformerLens).", WHERE, default="auto"
    )
    dtype: Dtype = _option("float32, bfloat16, float16 or float64.", WHERE, default="float32")
    device: str | None = _option("cpu, cuda, ...; default: what there is.", WHERE, default=None)
    devices: int = _option("Over how many GPUs the model is spread.", WHERE, default=1)
    revision: str | None = _option("Branch, tag or commit.", WHERE, default=None)
    trust_remote_code: bool = _option(
        "Run code that comes with the model; to be said with every command.", WHERE, default=False
    )
    task: str = _option(f"One of {', '.join(TASKS)}.", ASK, default="everyday")
    tests: tuple[str, ...] = _option(
        "Other tasks to test on, comma-separated; '' for none.",
        ASK,
        default=("countryrc", "commonsense", "paraphrase"),
    )
    data: Mapping[str, str] = _option(
        "Local file or folder of the task, or of another by name; may be repeated.",
        ASK,
        default_factory=dict,
    )
    templates: str | None = _option("JSON file of prompt templates.", ASK, default=None)
    template_count: int = _option(
        "How many of its templates each test is asked with.", ASK, default=1
    )
    groups: tuple[str, ...] | None = _option(
        "Countries or other groups, comma-separated, such as 'China,Iran,US'; default: all.",
        ASK,
        option="--groups/--countries",
        default=None,
    )
    answer_format: AnswerFormat = _option(
        "cloze, letter, or auto: letter with a chat template.",
        ASK,
        option="--format",
        default="auto",
    )
    limit: int = _option("Neuron (and control) instances at most; 0: all.", ASK, default=256)
    test_limit: int = _option("Items of the task's test at most; 0: all.", ASK, default=256)
    focus_limit: int = _option(
        "Of the focus countries so many, and --test-limit of the others.", ASK, default=0
    )
    rc_limit: int = _option("Passages of names to score at most; 0: all.", ASK, default=96)
    other_limit: int = _option("Items of each other test at most; 0: all.", ASK, default=40)
    variant: Variant = _option(
        "Reduction over positions: max, mean or norm.", SELECT, default="max"
    )
    estimate: Estimate = _option(
        f"How a neuron's effect is estimated: {', '.join(ESTIMATES)}.",
        SELECT,
        default="first_order",
    )
    target: Target | None = _option(
        f"What is differentiated: {', '.join(TARGETS)}; by default the scores' first.",
        SELECT,
        default=None,
    )
    top_mlp: float = _option("Share of gate neurons to keep (t_MLP).", SELECT, default=0.01)
    top_attention: float = _option(
        "Share of q, k, v neurons to keep (t_attn).", SELECT, default=0.002
    )
    remove: float = _option("Share removed by score on names (r).", SELECT, default=0.01)
    control: bool = _option("Subtract the control's scores.", SELECT, default=True)
    name_filter: bool = _option("Remove neurons that react to groups' names.", SELECT, default=True)
    top: float = _option("Share of neurons in a group's set.", SELECT, default=0.003)
    least_z: float = _option("Least z over groups in a group's set.", SELECT, default=0.5)
    factor: float = _option("Multiply the neurons' activations: 0 masks.", COMPARE, default=0.0)
    seeds: int = _option("Random sets to compare with.", COMPARE, default=2)
    matched_seeds: int = _option(
        "Random sets with the same count in every layer and site.", COMPARE, default=0
    )
    specific: bool = _option("Culture-specific sets too.", SELECT, default=False)
    ablations: bool = _option("The method without its parts too.", COMPARE, default=False)
    sweep: bool = _option("Other shares t and r too.", COMPARE, default=False)
    token_budget: int | None = _option(
        "Tokens in a batch; default: what fits into the free memory.", WHERE, default=None
    )

    def __post_init__(self) -> None:
        check_study(vars(self))

    @classmethod
    def of_questions(cls, path: str | Path, **arguments: Any) -> "Study":
        """The study of a file of questions of your own (`load_questions`), or of one that comes
        with the package; its tests are names of its groups, and two bundled controls.

        Raises:
            CulnigError: as `check_study`.

        Example:
            >>> Study.of_questions("religions", specific=True).tests
            ('own-names', 'commonsense', 'paraphrase')
        """
        file = str(questions_file(path))
        data = {OWN: file, **arguments.pop("data", {})}
        return cls(**of_own({**arguments, "data": data}))

    @property
    def names(self) -> dict[str, str]:
        """What its tasks are called in tables, where that is not their name: a file by its own."""
        return task_names(vars(self))


def of_own(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a study of questions of your own, whose tests are others by default."""
    return {"tests": OWN_TESTS, **arguments, "task": OWN}


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
        ("estimate", "estimate", ESTIMATES),
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
    for name in ("trust_remote_code", "control", "name_filter", "specific", "ablations", "sweep"):
        check_flag(name, given[name])
    for name in ("seeds", "matched_seeds"):
        check_count(name, given[name], most=SETS_MOST)
    if not given["seeds"] and not given["matched_seeds"]:
        raise CulnigError(
            "seeds is 0: give 1 or more random sets to compare with (seeds or matched_seeds)"
        )
    if not given["top_mlp"] and not given["top_attention"]:
        raise CulnigError("top_mlp and top_attention are 0, which selects nothing: raise one")
    if given["name_filter"] and given["remove"] == 1:
        raise CulnigError("remove is 1, which leaves no neuron: give less")
    _check_tasks(given)


def _check_tasks(given: Mapping[str, Any]) -> None:
    """What is asked: the tasks, their data, and the groups."""
    for name in ("tests", "groups"):
        if not isinstance(given[name], tuple | list) and (name, given[name]) != ("groups", None):
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
        if name not in {*names, "countryrc", OWN_NAMES}:
            raise CulnigError(
                f"data is given for {shown(name)}, which this run does not ask: it has "
                f"{', '.join(names)}"
            )
        check_text(f"the data of {name!r}", path)
    if given["task"] == OWN:
        given_file(given["data"].get(OWN))
    if given["groups"] is None:
        return
    asked, groups = TASKS[given["task"]], []
    for name in given["groups"]:
        check_text(f"a {asked.word}", name)
        groups.append(asked.called(name))
    if not groups:
        raise CulnigError("groups is empty: give one or more, or None for all")
    twice = [name for name in groups if groups.count(name) > 1]
    if twice:
        raise CulnigError(f"{asked.word} {twice[0]!r} is named twice: name each once")


def command_line(study: Study, out: str | Path) -> str:
    """The command that makes the run of a study.

    Example:
        >>> command_line(Study(seeds=5, specific=True), "runs/five")
        'culnig run --seeds 5 --specific --out runs/five'
    """
    parts, own = ["culnig", "run"], study.task == OWN
    for one in fields(Study):
        value, option = getattr(study, one.name), one.metadata["option"]
        default = OWN_TESTS if own and one.name == "tests" else getattr(Study(), one.name)
        if value == default or (own and one.name == "task"):
            continue
        option = option.split("/")[0] if option else f"--{one.name.replace('_', '-')}"
        if isinstance(value, bool):
            parts.append(option if value else option.replace("--", "--no-", 1))
        elif one.name == "data":
            for task, path in value.items():
                parts += ["--questions", path] if task == OWN else [option, f"{task}={path}"]
        else:
            parts += [option, ",".join(value) if isinstance(value, tuple) else str(value)]
    return shlex.join([*parts, "--out", str(out)])


def task_names(arguments: Mapping[str, Any]) -> dict[str, str]:
    """`Study.names`, of its arguments."""
    if arguments["task"] != OWN:
        return {}
    file = Path(arguments["data"][OWN]).stem
    return {OWN: file, OWN_NAMES: f"{file}, names"}


# What an argument was before it could be given, where that is not what it now is by default.
EARLIER = {"estimate": "first_order"}
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
