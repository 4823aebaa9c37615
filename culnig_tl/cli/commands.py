"""The command line: culnig run, its steps one by one, and the commands on a finished run."""

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from culnig_tl.analysis.evaluations import write_evaluation
from culnig_tl.checks import check_choice, check_count, check_number
from culnig_tl.cli.options import (
    BUDGET_HELP,
    CLASS_HELP,
    DEVICES_HELP,
    DTYPE_HELP,
    FACTOR_HELP,
    FORMAT_HELP,
    MODEL_HELP,
    REMOVE_HELP,
    TARGET_HELP,
    TASK_HELP,
    TOP_ATTENTION_HELP,
    TOP_MLP_HELP,
    TRUST_HELP,
    VARIANT_HELP,
    Budget,
    Countries,
    Data,
    Device,
    Devices,
    Dtype,
    Factor,
    Format,
    Limit,
    Model,
    ModelClass,
    Out,
    Remove,
    Target,
    TaskName,
    Templates,
    TopAttention,
    TopMlp,
    Trust,
    Variant,
    path_option,
)
from culnig_tl.cli.run_commands import app as commands
from culnig_tl.cli.run_commands import (
    console,
    country_list,
    names,
    print_comparison,
    print_place,
    print_text,
    whole,
)
from culnig_tl.cli.terminal import exit_code, texts
from culnig_tl.errors import CulnigError
from culnig_tl.measure.attribution import attribute
from culnig_tl.measure.evaluation import COLUMNS
from culnig_tl.measure.evaluation import evaluate as evaluate_instances
from culnig_tl.models.choices import FORMATS
from culnig_tl.models.configs import neuron_layout
from culnig_tl.models.loading import load_model
from culnig_tl.models.sums import remove_checkpoint
from culnig_tl.neurons.layout import SITES
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.selection import (
    check_least_z,
    check_shares,
    select_general,
    select_random,
    select_specific,
)
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.paths import check_inputs_kept, check_writable
from culnig_tl.study.arguments import PRESETS, Study
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.study.plan import plan_study
from culnig_tl.study.running import run_study
from culnig_tl.tasks import TASKS, load_task
from culnig_tl.tasks.countries import country_name
from culnig_tl.tasks.instances import Split

app = typer.Typer(
    help="Find the neurons of a language model that carry cultural knowledge (CULNIG).",
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(commands)


_D = Study()


def _preset(name: str, help: str, *declarations: str) -> Any:
    """An option of `run` that replaces a field of the preset when it is given."""
    default = getattr(_D, name)
    shown = ",".join(default) if isinstance(default, tuple) else str(default)
    shown = False if default is None else f"quick: {shown}"
    return typer.Option(*declarations, help=help, show_default=shown)


@app.command()
def run(
    *,
    out: Out = Path("runs/demo"),
    preset: Annotated[
        str, typer.Option(help="quick: a demonstration; paper: the whole study of the paper.")
    ] = "quick",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    model: Annotated[str | None, _preset("model", MODEL_HELP)] = None,
    task: Annotated[str | None, _preset("task", TASK_HELP)] = None,
    tests: Annotated[
        str | None, _preset("tests", "Other tasks to test on, comma-separated; '' for none.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TASK=]PATH",
            help="Local file or folder of the task, or of another by name; may be repeated.",
        ),
    ] = None,
    templates: Templates = None,
    template_count: Annotated[
        int | None, _preset("template_count", "How many of its templates each test is asked with.")
    ] = None,
    countries: Countries = None,
    answer_format: Annotated[str | None, _preset("answer_format", FORMAT_HELP, "--format")] = None,
    limit: Annotated[int | None, _preset("limit", "Neuron instances at most; 0: all.")] = None,
    test_limit: Annotated[
        int | None, _preset("test_limit", "Items of the task's test at most; 0: all.")
    ] = None,
    focus_limit: Annotated[
        int | None,
        _preset("focus_limit", "Of the focus countries so many, and --test-limit of the others."),
    ] = None,
    rc_limit: Annotated[
        int | None, _preset("rc_limit", "CountryRC passages to score at most; 0: all.")
    ] = None,
    other_limit: Annotated[
        int | None, _preset("other_limit", "Items of each other test at most; 0: all.")
    ] = None,
    variant: Annotated[str | None, _preset("variant", VARIANT_HELP)] = None,
    target: Annotated[str | None, _preset("target", TARGET_HELP)] = None,
    top_mlp: Annotated[float | None, _preset("top_mlp", TOP_MLP_HELP)] = None,
    top_attention: Annotated[float | None, _preset("top_attention", TOP_ATTENTION_HELP)] = None,
    remove: Annotated[float | None, _preset("remove", REMOVE_HELP)] = None,
    control: Annotated[
        bool | None,
        _preset("control", "Subtract the control's scores.", "--control/--no-control"),
    ] = None,
    countryrc: Annotated[
        bool | None,
        _preset("countryrc", "Remove country-name neurons.", "--countryrc/--no-countryrc"),
    ] = None,
    top: Annotated[float | None, _preset("top", "Share of neurons in a country's set.")] = None,
    least_z: Annotated[
        float | None, _preset("least_z", "Least z over countries in a country's set.")
    ] = None,
    factor: Annotated[float | None, _preset("factor", FACTOR_HELP)] = None,
    seeds: Annotated[int | None, _preset("seeds", "Random sets to compare with.")] = None,
    matched_seeds: Annotated[
        int | None,
        _preset("matched_seeds", "Random sets with the same count in every layer and site."),
    ] = None,
    specific: Annotated[
        bool | None,
        _preset("specific", "Culture-specific sets too.", "--specific/--no-specific"),
    ] = None,
    ablations: Annotated[
        bool | None,
        _preset("ablations", "The method without its parts too.", "--ablations/--no-ablations"),
    ] = None,
    sweep: Annotated[
        bool | None, _preset("sweep", "Other shares t and r too.", "--sweep/--no-sweep")
    ] = None,
    model_class: Annotated[str | None, _preset("model_class", CLASS_HELP)] = None,
    dtype: Annotated[str | None, _preset("dtype", DTYPE_HELP)] = None,
    device: Device = None,
    devices: Annotated[int | None, _preset("devices", DEVICES_HELP)] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    trust_remote_code: Annotated[
        bool | None,
        _preset("trust_remote_code", TRUST_HELP, "--trust-remote-code/--no-trust-remote-code"),
    ] = None,
    token_budget: Annotated[int | None, _preset("token_budget", BUDGET_HELP)] = None,
) -> None:
    """Everything: score the neurons, select, mask them, compare with random ones, report.

    The defaults are a demonstration on a laptop. A run that was interrupted goes on where it
    stopped when the same command is given again.
    """
    study = _study(dict(locals()))
    if dry_run:
        _print_plan(study)
        return
    print_comparison(run_study(study, out))
    print_place("Report", out / "report.html")


def plan(**options: Any) -> None:
    """What a run would take: instances, tokens, FLOPs, memory and time. Options as those of run.

    For the model, and for the paper's six; the speed of this machine is measured. Nothing is
    written, and no weights are read.
    """
    _print_plan(_study(options))


_of_run = inspect.signature(run).parameters.values()


_of_plan = [parameter for parameter in _of_run if parameter.name not in ("out", "dry_run")]


plan.__signature__ = inspect.Signature(_of_plan)  # type: ignore[attr-defined]


plan.__annotations__ = {parameter.name: parameter.annotation for parameter in _of_plan}


app.command()(plan)


@app.command()
def score(
    out: Out,
    *,
    model: Model = _D.model,
    task: TaskName = _D.task,
    split: Annotated[
        Split, typer.Option(help="neuron, control or test.", parser=str, metavar="TEXT")
    ] = "neuron",
    data: Data = None,
    templates: Templates = None,
    countries: Countries = None,
    answer_format: Format = "auto",
    limit: Limit = 0,
    model_class: ModelClass = "auto",
    dtype: Dtype = "float32",
    device: Device = None,
    devices: Devices = 1,
    trust_remote_code: Trust = False,
    token_budget: Budget = None,
) -> None:
    """Score every neuron on one task and split; writes a .safetensors file that `select` reads."""
    model = os.path.expanduser(model)
    check_choice("answer format", answer_format, FORMATS)
    _check_budget(token_budget)
    _check_out(out, {"data": data, "templates": templates, "model": model}, Scores.load)
    instances = load_task(
        task,
        split,
        countries=country_list(countries),
        limit=limit or None,
        data=data,
        templates=templates,
    )
    hooked = load_model(
        model,
        model_class=model_class,
        dtype=dtype,
        device=device,
        revision=None,
        trust_remote_code=trust_remote_code,
        devices=devices,
    )
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    scores = attribute(
        hooked,
        instances,
        answer_format=answer_format,
        token_budget=token_budget,
        checkpoint=checkpoint,
    )
    scores.save(out)
    remove_checkpoint(checkpoint)
    print_text(repr(scores))
    print_text(f"Saved: {out}")


@app.command()
def select(
    scores: Annotated[Path, path_option("Scores of the cultural instances.")],
    out: Out,
    *,
    control: Annotated[Path | None, path_option("Scores of the control.")] = None,
    countryrc: Annotated[Path | None, path_option("Scores of CountryRC.")] = None,
    country: Annotated[
        str | None, typer.Option(help="Select the neurons specific to this country instead.")
    ] = None,
    variant: Variant = _D.variant,
    target: Target = None,
    top_mlp: TopMlp = _D.top_mlp,
    top_attention: TopAttention = _D.top_attention,
    remove: Remove = _D.remove,
    top: Annotated[float, typer.Option(help="Share of neurons in a country's set.")] = _D.top,
    least_z: Annotated[float, typer.Option(help="Least z in a country's set.")] = _D.least_z,
) -> None:
    """Select neurons from saved scores; writes a .json file. No model needed.

    Culture-general ones, or with --country those specific to it.
    """
    read = {"scores": scores, "control": control, "countryrc": countryrc}
    _check_out(out, read, NeuronSet.load)
    shares = {"top_mlp": top_mlp, "top_attention": top_attention, "remove": remove, "top": top}
    check_shares(shares)
    check_least_z(least_z)
    cultural = Scores.load(scores)
    of_control = None if control is None else Scores.load(control, layout=cultural.layout)
    of_names = None if countryrc is None else Scores.load(countryrc, layout=cultural.layout)
    if country is None:
        neurons = select_general(
            cultural,
            of_control,
            of_names,
            variant=variant,
            top_mlp=top_mlp,
            top_attention=top_attention,
            remove=remove,
            target=target,
        )
    else:
        name = country_name(country)
        neurons = select_specific(
            cultural,
            of_control,
            of_names,
            country=name,
            variant=variant,
            top=top,
            remove=remove,
            least_z=least_z,
            target=target,
        )
    neurons.save(out)
    print_text(repr(neurons))
    print_text(f"Saved: {out}")


@app.command()
def evaluate(
    *,
    model: Model = _D.model,
    task: TaskName = _D.task,
    split: Annotated[
        Split, typer.Option(help="test, usually.", parser=str, metavar="TEXT")
    ] = "test",
    neurons: Annotated[Path | None, path_option("Neurons to mask (from select).")] = None,
    random_seed: Annotated[
        int | None, typer.Option(help="Mask as many random neurons instead.")
    ] = None,
    factor: Factor = 0.0,
    data: Data = None,
    templates: Templates = None,
    countries: Countries = None,
    answer_format: Format = "auto",
    limit: Limit = 0,
    out: Annotated[Path | None, path_option("CSV file, one row an instance.")] = None,
    model_class: ModelClass = "auto",
    dtype: Dtype = "float32",
    device: Device = None,
    devices: Devices = 1,
    trust_remote_code: Trust = False,
    token_budget: Budget = None,
) -> None:
    """Let the model answer a task, with or without masked neurons."""
    model = os.path.expanduser(model)
    check_choice("answer format", answer_format, FORMATS)
    check_number("factor", factor)
    _check_budget(token_budget)
    if out is not None:
        read = {"data": data, "templates": templates, "model": model, "neurons": neurons}
        _check_out(out, read, _evaluation_header)
    chosen = None if neurons is None else NeuronSet.load(neurons)
    if random_seed is not None:
        if chosen is None:
            raise CulnigError("--random-seed needs --neurons: it draws as many as that set has")
        chosen = select_random(chosen, random_seed)
    instances = load_task(
        task,
        split,
        countries=country_list(countries),
        limit=limit or None,
        data=data,
        templates=templates,
    )
    hooked = load_model(
        model,
        model_class=model_class,
        dtype=dtype,
        device=device,
        revision=None,
        trust_remote_code=trust_remote_code,
        devices=devices,
    )
    frame = evaluate_instances(
        hooked,
        instances,
        chosen,
        factor=factor,
        answer_format=answer_format,
        token_budget=token_budget,
    )
    if out is not None:
        write_evaluation(frame, out)
        print_text(f"Saved: {out}")
    table = Table(whole("task"), "items", "accuracy %", "vocabulary %", "mean P(answer) %")
    for name, part in frame.groupby("task", sort=False):
        means = 100 * part[["correct", "correct_vocabulary", "probability"]].mean()
        table.add_row(*texts(name, len(part), *(f"{value:.2f}" for value in means)))
    console.print(table)


@app.command()
def models(
    *,
    name: Annotated[str | None, typer.Argument(help="A model to count instead.")] = None,
    trust_remote_code: Trust = False,
) -> None:
    """How many neurons models have (the paper's Table 12), from configurations alone."""
    table = Table(whole("model"), "layers", *SITES, "all")
    name = None if name is None else os.path.expanduser(name)
    for label, config in PAPER_MODELS.items() if name is None else {name: name}.items():
        layout = neuron_layout(config, name=str(label), trust_remote_code=trust_remote_code)
        counts = [f"{count:,}" for count in layout.counts().values()]
        table.add_row(*texts(label, layout.n_layers, *counts, f"{layout.total:,}"))
    console.print(table)


def main() -> None:
    """Entry point: a mistake of the user's is one line on standard error (`exit_code`)."""
    code = exit_code(app)
    if code:
        sys.exit(code)


def _check_budget(token_budget: int | None) -> None:
    if token_budget is not None:
        check_count("token budget", token_budget, least=1, unit="(1024 is usual)")


def _check_out(out: Path, inputs: dict[str, Any], load: Callable[[Path], object]) -> None:
    """Refuse to write onto what is read, or onto a file of another kind; before anything is run.

    Args:
        load: reads a file of the kind that is written, or raises CulnigError.
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
    check_writable(out)


def _evaluation_header(file: Path) -> None:
    with file.open(encoding="utf-8", errors="replace") as lines:
        if tuple(next(lines).strip().split(",")) != COLUMNS:
            raise CulnigError(f"{file} is no evaluation")


def _study(options: dict[str, Any]) -> Study:
    """The preset with the fields that were given among `run`'s options."""
    preset = options["preset"]
    check_choice("preset", preset, PRESETS)
    fields = {field.name for field in dataclasses.fields(Study)}
    given = {k: v for k, v in options.items() if k in fields and v not in (None, [], ())}
    for name in ("tests", "countries"):
        if name in given:
            given[name] = names(given[name])
    if given.get("templates") is not None:
        given["templates"] = os.path.realpath(given["templates"])
    if "model" in given:
        given["model"] = os.path.expanduser(given["model"])
    study = dataclasses.replace(PRESETS[preset], **given | {"data": {}})
    return dataclasses.replace(study, data=_task_paths(options["data"] or [], study.task))


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


def _print_plan(study: Study) -> None:
    planned = plan_study(study)
    table = Table(whole("step"), "passes", "instances each", "tokens each")
    for name, steps in planned.by_name().items():
        table.add_row(*texts(name, len(steps), f"{steps[0].instances:,}", f"{steps[0].tokens:,}"))
    console.print(table)
    costs = Table(whole("model"), "parameters", "GiB", "PFLOP", "here", "H100")
    for cost in planned.costs:
        row = (
            cost.model,
            f"{cost.parameters / 1e9:.1f} B",
            f"{cost.memory / 2**30:.1f}",
            f"{cost.flops / 1e15:,.2f}",
            _duration(cost.seconds_here),
            _duration(cost.seconds_h100),
        )
        costs.add_row(*texts(*row))
    console.print(costs)
    print_text(planned.note)


def _duration(seconds: float) -> str:
    if seconds > 1000 * 3600:
        return "> 1,000 h"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"
