"""Options of the command line: most are fields of `Study`, with the help that stands there."""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from culnig_tl.checks import check_choice, check_count
from culnig_tl.cli.terminal import path_of
from culnig_tl.errors import CulnigError
from culnig_tl.paths import check_inputs_kept, try_writing
from culnig_tl.study.arguments import PANELS, PRESETS, Study, of_own
from culnig_tl.tasks import OWN, TASKS
from culnig_tl.tasks.question_rows import questions_file

DEFAULTS = Study()
FIELDS = {field.name: field for field in dataclasses.fields(Study)}


def example(arguments: str) -> str:
    """The last line of a help page."""
    return f"Example: culnig {arguments}"


def path_option(help: str, *names: str, **more: Any) -> Any:
    """An option for a file or a folder."""
    return typer.Option(*names, help=help, metavar="PATH", parser=path_of, **more)


def _field_option(name: str, *names: str, **more: Any) -> Any:
    """An option with the help, the panel and the name of a field of `Study`."""
    about = FIELDS[name].metadata
    names = names or tuple(filter(None, (about["option"] or "").split("/")))
    make = path_option if name == "templates" else typer.Option
    return make(*names, help=about["help"], rich_help_panel=about["panel"], **more)


Model = Annotated[str, _field_option("model")]
ModelClass = Annotated[str, _field_option("model_class")]
Dtype = Annotated[str, _field_option("dtype")]
Device = Annotated[str | None, _field_option("device")]
Devices = Annotated[int, _field_option("devices")]
Trust = Annotated[bool, _field_option("trust_remote_code", "--trust-remote-code")]
Budget = Annotated[int | None, _field_option("token_budget")]
TaskName = Annotated[str, _field_option("task")]
Templates = Annotated[Path | None, _field_option("templates")]
Groups = Annotated[str | None, _field_option("groups")]
Format = Annotated[str, _field_option("answer_format")]
Variant = Annotated[str, _field_option("variant")]
Estimate = Annotated[str, _field_option("estimate")]
Target = Annotated[str | None, _field_option("target")]
TopMlp = Annotated[float, _field_option("top_mlp")]
TopAttention = Annotated[float, _field_option("top_attention")]
Remove = Annotated[float, _field_option("remove")]
Top = Annotated[float, _field_option("top")]
LeastZ = Annotated[float, _field_option("least_z")]
Factor = Annotated[float, _field_option("factor")]
Data = Annotated[
    Path | None, path_option("Local file or folder of the task; default: bundled or the Hub.")
]
Questions = Annotated[Path | None, path_option("A file of your own questions in place of a task.")]
Limit = Annotated[int, typer.Option(min=0, help="At most so many instances; 0: all.")]
Out = Annotated[Path, path_option("Where the result goes.")]
RunFolder = Annotated[Path, path_option("The folder of a finished run.", "--run")]


def study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Ask for the `study` of a command by options: a preset, and all fields of `Study`."""

    @functools.wraps(command)
    def with_options(*, preset: str, questions: Path | None, **given: Any) -> None:
        own = {name: given.pop(name) for name in list(given) if name not in FIELDS}
        command(study=_study(preset, given, questions=questions), **own)

    keyword = inspect.Parameter.KEYWORD_ONLY
    about = typer.Option(help="quick: a demonstration; paper: the whole study of the paper.")
    preset = inspect.Parameter("preset", keyword, default="quick", annotation=Annotated[str, about])
    mine = path_option(
        "A file of your own questions in place of a task (`culnig check FILE`).",
        rich_help_panel=PANELS[0],
    )
    questions = inspect.Parameter(
        "questions", keyword, default=None, annotation=Annotated[Path | None, mine]
    )
    fields = sorted(FIELDS.values(), key=lambda field: PANELS.index(field.metadata["panel"]))
    asked = [
        inspect.Parameter(field.name, keyword, default=None, annotation=_annotation(field))
        for field in fields
    ]
    own = inspect.signature(command).parameters.values()
    with_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*(one for one in own if one.name != "study"), preset, questions, *asked]
    )
    return with_options


def _annotation(field: dataclasses.Field[Any]) -> Any:
    """What the option of a field takes; what is not given is None and leaves the preset's."""
    kind, default, more = field.type, getattr(DEFAULTS, field.name), {}
    if field.name == "data":
        kind, default, more = list[str], None, {"metavar": "[TASK=]PATH"}
    elif field.name == "templates":
        kind = Path
    elif kind in (tuple[str, ...], tuple[str, ...] | None) or "Literal" in str(kind):
        kind = str  # a closed set is checked by `Study`, in the words of all its checks
    shown = ",".join(default) if isinstance(default, tuple) else str(default)
    show_default = False if default is None else f"quick: {shown}"
    option = _field_option(field.name, show_default=show_default, **more)
    return Annotated[kind | None, option]  # type: ignore[operator]


def _study(preset: str, options: dict[str, Any], *, questions: Path | None) -> Study:
    """The preset with the fields that were given; of questions of one's own, if there are."""
    check_choice("preset", preset, PRESETS)
    given = {name: value for name, value in options.items() if value not in (None, [], ())}
    for name in ("tests", "groups"):
        if name in given:
            given[name] = names(given[name])
    if "templates" in given:
        given["templates"] = os.path.realpath(given["templates"])
    if "model" in given:
        given["model"] = os.path.expanduser(given["model"])
    paths = given.pop("data", [])
    if questions is not None:
        if "task" in given:
            raise CulnigError("--questions is given beside --task: give one of them")
        given = of_own(given)
        paths = [*paths, f"{OWN}={questions_file(questions)}"]
    task = given.get("task", PRESETS[preset].task)
    return dataclasses.replace(PRESETS[preset], **given, data=_task_paths(paths, task))


def asked(task: str, data: Path | None, questions: Path | None) -> tuple[str, Path | None]:
    """The task and its data: those of `--task` and `--data`, or of `--questions`."""
    if questions is None:
        return task, data
    if task != DEFAULTS.task or data is not None:
        raise CulnigError("--questions is given beside --task or --data: give one of them")
    return OWN, questions_file(questions)


def _task_paths(given: list[str], task: str) -> dict[str, str]:
    """`[TASK=]PATH` of each task; without a name the study's own task.

    Absolute, so that a run can be verified from any folder.
    """
    paths: dict[str, str] = {}
    for text in given:
        name, mark, path = text.partition("=")
        if not mark or name not in TASKS:
            name, path = task, text
        if name in paths:
            raise CulnigError(f"--data is given twice for {name!r}: {paths[name]} and {path}")
        paths[name] = os.path.realpath(os.path.expanduser(path))
    return paths


def names(text: str) -> tuple[str, ...]:
    """What is given separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def group_list(groups: str | None) -> tuple[str, ...] | None:
    """The groups of `--groups`; None where it is not given."""
    return None if groups is None else names(groups)


def numbers(text: str, kind: Callable[[str], Any], option: str) -> list[Any]:
    """Numbers that are given separated by commas.

    Raises:
        CulnigError: one is no number.
    """
    found = []
    for part in names(text):
        try:
            found.append(kind(part))
        except ValueError as error:
            raise CulnigError(
                f"{option} has {part!r}, which is no number: give some, as 1,2"
            ) from error
    return found


def check_budget(token_budget: int | None) -> None:
    """Refuse a `--token-budget` below 1.

    Raises:
        CulnigError: it is.
    """
    if token_budget is not None:
        check_count("token budget", token_budget, least=1, unit="(1024 is usual)")


def guard_out(out: Path, inputs: dict[str, Any], load: Callable[[Path], object]) -> None:
    """Refuse to write onto what is read, or onto a file of another kind; before anything is run.

    Args:
        load: reads a file of the kind that is written, or raises CulnigError.

    Raises:
        CulnigError: it would, or it cannot be written.
    """
    check_inputs_kept(out, inputs)
    if os.path.isfile(out) and os.path.getsize(out):
        try:
            load(out)
        except CulnigError as error:
            raise CulnigError(
                f"{out} is there already and is no file that this command writes: choose another "
                "name, or delete it"
            ) from error
    try_writing(out)
