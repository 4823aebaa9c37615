"""The command line: `culnig run`, its plan, and its steps one by one.

What needs a model is imported by the command that runs it: the others answer at once.
"""

# What is given in words is checked by what it is given to.
# pyright: reportArgumentType=false

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from culnig_tl.analysis.texts import duration_text
from culnig_tl.checks import check_choice, check_number
from culnig_tl.cli import options as ask
from culnig_tl.cli.options import example, path_of, path_option, study_options
from culnig_tl.cli.tables import (
    print_comparison,
    print_evaluation,
    print_place,
    print_table,
    print_text,
)
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import FORMATS
from culnig_tl.neurons.estimates import ESTIMATES
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
from culnig_tl.resampling import FEWEST_QUESTIONS, questions_for, smallest_loss
from culnig_tl.study.arguments import Study
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.tasks import load_task
from culnig_tl.tasks.countries import country_name
from culnig_tl.tasks.own import load_questions
from culnig_tl.tasks.question_rows import faults_in

app = typer.Typer()
_SPLIT_BY = {
    "split": "by the file's own column",
    "category": "by category: whole categories are in one split",
    "hash": "by question, through a stable hash: one question is in one split for all groups",
}


@app.command(epilog=example("run --seeds 5 --out runs/five-seeds"))
@study_options
def run(
    *,
    study: Study,
    out: ask.Out = Path("runs/demo"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Start anew: delete what a run left in the folder first."),
    ] = False,
) -> None:
    """Everything: score the neurons, select, mask them, compare with random ones, report.

    The defaults are a demonstration on a laptop. A run that was interrupted goes on where it
    stopped when the same command is given again; nothing else is needed to resume it.
    """
    if dry_run:
        _print_plan(study)
        return
    from culnig_tl.study.running import run_study

    print_comparison(run_study(study, out, anew=force).table)
    print_place("Report", out / "report.html")


@app.command(epilog=example("plan --seeds 10 --specific"))
@study_options
def plan(*, study: Study) -> None:
    """What a run would take: instances, tokens, FLOPs, memory and time. Options as those of run.

    For the model, and for the paper's six; the speed of this machine is measured. Nothing is
    written, and no weights are read.
    """
    _print_plan(study)


@app.command(epilog=example("score --limit 32 --out scores.safetensors"))
def score(
    out: ask.Out,
    *,
    model: ask.Model = ask.DEFAULTS.model,
    task: ask.TaskName = ask.DEFAULTS.task,
    split: Annotated[str, typer.Option(help="neuron, control or test.")] = "neuron",
    questions: ask.Questions = None,
    data: ask.Data = None,
    templates: ask.Templates = None,
    groups: ask.Groups = None,
    answer_format: ask.Format = ask.DEFAULTS.answer_format,
    limit: ask.Limit = 0,
    estimate: ask.Estimate = ask.DEFAULTS.estimate,
    model_class: ask.ModelClass = ask.DEFAULTS.model_class,
    dtype: ask.Dtype = ask.DEFAULTS.dtype,
    device: ask.Device = None,
    devices: ask.Devices = ask.DEFAULTS.devices,
    trust_remote_code: ask.Trust = False,
    token_budget: ask.Budget = None,
) -> None:
    """Score every neuron on one task and split; writes a .safetensors file that `select` reads."""
    model = os.path.expanduser(model)
    task, data = ask.asked(task, data, questions)
    check_choice("answer format", answer_format, FORMATS)
    check_choice("estimate", estimate, ESTIMATES)
    ask.check_budget(token_budget)
    ask.guard_out(out, {"data": data, "templates": templates, "model": model}, Scores.load)
    instances = load_task(
        task,
        split,
        groups=ask.group_list(groups),
        limit=limit or None,
        data=data,
        templates=templates,
    )
    from culnig_tl.measure.attribution import attribute
    from culnig_tl.models.loading import load_model
    from culnig_tl.models.sums import remove_checkpoint

    hooked = load_model(
        model,
        model_class=model_class,
        dtype=dtype,
        device=device,
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
        estimate=estimate,
    )
    scores.save(out)
    remove_checkpoint(checkpoint)
    print_text(repr(scores))
    print_text(f"Saved: {out}")


@app.command(epilog=example("select --scores scores.safetensors --out neurons.json"))
def select(
    scores: Annotated[Path, path_option("Scores of the cultural instances.")],
    out: ask.Out,
    *,
    control: Annotated[Path | None, path_option("Scores of the control.")] = None,
    names: Annotated[
        Path | None, path_option("Scores of groups' names (CountryRC).", "--names", "--countryrc")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", "--country", help="Select the neurons specific to this group instead."
        ),
    ] = None,
    variant: ask.Variant = ask.DEFAULTS.variant,
    target: ask.Target = None,
    top_mlp: ask.TopMlp = ask.DEFAULTS.top_mlp,
    top_attention: ask.TopAttention = ask.DEFAULTS.top_attention,
    remove: ask.Remove = ask.DEFAULTS.remove,
    top: ask.Top = ask.DEFAULTS.top,
    least_z: ask.LeastZ = ask.DEFAULTS.least_z,
) -> None:
    """Select neurons from saved scores; writes a .json file. No model needed.

    Culture-general ones, or with --group those specific to it.
    """
    read = {"scores": scores, "control": control, "names": names}
    ask.guard_out(out, read, NeuronSet.load)
    shares = {"top_mlp": top_mlp, "top_attention": top_attention, "remove": remove, "top": top}
    check_shares(shares)
    check_least_z(least_z)
    cultural = Scores.load(scores)
    of_control = None if control is None else Scores.load(control, layout=cultural.layout)
    of_names = None if names is None else Scores.load(names, layout=cultural.layout)
    if group is None:
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
        neurons = select_specific(
            cultural,
            of_control,
            of_names,
            group=_as_scored(group, cultural),
            variant=variant,
            top=top,
            remove=remove,
            least_z=least_z,
            target=target,
        )
    neurons.save(out)
    print_text(repr(neurons))
    print_text(f"Saved: {out}")


@app.command(epilog=example("evaluate --limit 40 --neurons neurons.json"))
def evaluate(
    *,
    model: ask.Model = ask.DEFAULTS.model,
    task: ask.TaskName = ask.DEFAULTS.task,
    split: Annotated[str, typer.Option(help="test, usually.")] = "test",
    neurons: Annotated[Path | None, path_option("Neurons to mask (from select).")] = None,
    random_seed: Annotated[
        int | None, typer.Option(help="Mask as many random neurons instead.")
    ] = None,
    factor: ask.Factor = ask.DEFAULTS.factor,
    questions: ask.Questions = None,
    data: ask.Data = None,
    templates: ask.Templates = None,
    groups: ask.Groups = None,
    answer_format: ask.Format = ask.DEFAULTS.answer_format,
    limit: ask.Limit = 0,
    out: Annotated[Path | None, path_option("CSV file, one row an instance.")] = None,
    model_class: ask.ModelClass = ask.DEFAULTS.model_class,
    dtype: ask.Dtype = ask.DEFAULTS.dtype,
    device: ask.Device = None,
    devices: ask.Devices = ask.DEFAULTS.devices,
    trust_remote_code: ask.Trust = False,
    token_budget: ask.Budget = None,
) -> None:
    """Let the model answer a task, with or without masked neurons."""
    model = os.path.expanduser(model)
    task, data = ask.asked(task, data, questions)
    check_choice("answer format", answer_format, FORMATS)
    check_number("factor", factor)
    ask.check_budget(token_budget)
    if out is not None:
        read = {"data": data, "templates": templates, "model": model, "neurons": neurons}
        ask.guard_out(out, read, _evaluation_header)
    chosen = None if neurons is None else NeuronSet.load(neurons)
    if random_seed is not None:
        if chosen is None:
            raise CulnigError("--random-seed needs --neurons: it draws as many as that set has")
        chosen = select_random(chosen, random_seed)
    instances = load_task(
        task,
        split,
        groups=ask.group_list(groups),
        limit=limit or None,
        data=data,
        templates=templates,
    )
    from culnig_tl.analysis.evaluations import write_evaluation
    from culnig_tl.measure.evaluation import evaluate as evaluate_instances
    from culnig_tl.models.loading import load_model

    hooked = load_model(
        model,
        model_class=model_class,
        dtype=dtype,
        device=device,
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
    print_evaluation(frame)


@app.command(epilog=example("check mine.csv"))
def check(
    file: Annotated[
        Path, typer.Argument(help="CSV, TSV, JSON, JSON Lines or Parquet.", parser=path_of)
    ],
) -> None:
    """What is made of a file of your own questions: groups, splits, drawn options, prompts.

    Columns question, group, answer; if you like wrong_1, wrong_2 and so on, split, category, id,
    group_in_text. A bad row is told with its number and what to do.
    """
    faults = faults_in(file)
    for fault in faults:
        print_text(fault)
    if faults:
        count = "1 bad row" if len(faults) == 1 else f"{len(faults)} bad rows"
        raise CulnigError(f"{file} has {count}: mend what is told above")
    found = load_questions(file)
    print_text(repr(found))
    counts = found.counts().reset_index().itertuples(index=False)
    print_table({"group": "", "to find neurons": ",", "to test": ","}, counts)
    print_text(f"Split {_SPLIT_BY[found.split_by]}.")
    if found.drawn:
        print_text(f"Wrong options of {found.drawn} questions were drawn from others' answers.")
    asked = len({one.topic for one in found.test})
    each = len(found.test) / asked
    loss = 100 * smallest_loss(asked, each=each)
    print_text(
        f"The test asks {asked} different questions, each of {each:.1f} groups. So many find a "
        f"loss of {loss:.0f} points in four of five studies; a loss of 5 takes "
        f"{questions_for(0.05, each=each)}."
        + (f" Below {FEWEST_QUESTIONS} nothing is called significant." * (asked < FEWEST_QUESTIONS))
    )
    for one in found.test[:3]:
        print_text(f"\ncloze:\n{one.cloze} {one.answer_text}\nletter:\n{one.user}")


@app.command(epilog=example("models SmolLM2-135M-Instruct"))
def models(
    *,
    name: Annotated[
        str | None, typer.Argument(help="A folder, a name on the Hub, or an embedded model.")
    ] = None,
    measure: Annotated[
        bool, typer.Option(help="Measure the speed of this machine, up to a minute.")
    ] = True,
    trust_remote_code: ask.Trust = False,
) -> None:
    """How many neurons the paper's models have (its Table 12); of NAME all that is known.

    That is its size, the class in which it will be hooked, its answer format, and what the demo
    takes of memory and time. No weights are read.
    """
    if name is None:
        sizes = [
            (label, model.layers, *model.layout.counts().values(), model.layout.total)
            for label, model in PAPER_MODELS.items()
        ]
        print_table({"model": "", "layers": "", **dict.fromkeys((*SITES, "all"), ",")}, sizes)
        return
    from culnig_tl.study.model_facts import model_facts

    facts = model_facts(
        os.path.expanduser(name), trust_remote_code=trust_remote_code, measure=measure
    )
    print_table({"model": "", facts.name: ""}, facts.table().itertuples(name=None))
    print_text(facts.note)


def _as_scored(group: str, scores: Scores) -> str:
    """The group, a country in the spelling that the scores have."""
    with contextlib.suppress(CulnigError):
        if group not in scores.groups and country_name(group) in scores.groups:
            return country_name(group)
    return group


def _evaluation_header(file: Path) -> None:
    from culnig_tl.analysis.evaluations import EVALUATION

    with file.open(encoding="utf-8", errors="replace") as lines:
        if not set(EVALUATION.columns) <= set(next(lines).strip().split(",")):
            raise CulnigError(f"{file} is no evaluation")


def _print_plan(study: Study) -> None:
    from culnig_tl.study.plan import plan_study

    planned = plan_study(study)
    steps = [
        (name, len(same), same[0].instances, same[0].different, same[0].tokens)
        for name, same in planned.by_name().items()
    ]
    each = {"instances each": ",", "different": ",", "tokens each": ","}
    print_table({"step": "", "passes": ""} | each, steps)
    found = {
        "test": "",
        "questions": ",.0f",
        "groups each": ".1f",
        "loss it finds": ".1f",
        "for a loss of 5": ",.0f",
    }
    print_table(found, planned.power.reset_index().itertuples(index=False))
    print_text(
        "loss it finds: the smallest, in points beyond what random neurons take, that is "
        "significant in 80 of 100 studies; for a loss of 5: the questions that it takes"
    )
    columns = {"model": "", "parameters": "", "GiB": ".1f", "PFLOP": ",.2f", "here": "", "H100": ""}
    costs = []
    for cost in planned.costs:
        times = (duration_text(cost.seconds_here), duration_text(cost.seconds_h100))
        size = f"{cost.parameters / 1e9:.1f} B"
        costs.append((cost.model, size, cost.memory / 2**30, cost.flops / 1e15, *times))
    print_table(columns, costs)
    print_text(planned.note)
