"""The command line: culnig run | verify | score | select | evaluate | report | models."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import click
import pandas as pd
import transformers
import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Column, Table

from culnig_tl.agreement import STATISTICS
from culnig_tl.attribution import attribute
from culnig_tl.errors import CulnigError
from culnig_tl.evaluation import evaluate as evaluate_instances
from culnig_tl.models import count_neurons, load_model
from culnig_tl.neurons import SITES, NeuronSet
from culnig_tl.paper import PAPER_MODELS
from culnig_tl.report import table_rows
from culnig_tl.scores import Scores
from culnig_tl.selection import select_general, select_random
from culnig_tl.study import Study, read_run, run_study, write_evaluation
from culnig_tl.tasks import TASKS, load_task
from culnig_tl.verify import verify_run

app = typer.Typer(
    help="Find the neurons of a language model that carry cultural knowledge (CULNIG).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_console = Console()
_D = Study()

Model = Annotated[
    str, typer.Option(help="gemma-3-270m (embedded), a name on the Hugging Face Hub, or a folder.")
]
ModelClass = Annotated[
    str, typer.Option(help="auto, HookedTransformer or TransformerBridge (TransformerLens).")
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, float16 or float64.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: what there is.")]
TaskName = Annotated[str, typer.Option(help=f"One of {', '.join(TASKS)}.")]
Data = Annotated[
    Path | None, typer.Option(help="Local file or folder of the task; default: bundled or the Hub.")
]
Countries = Annotated[
    str | None, typer.Option(help="Comma-separated, such as 'China,Iran,US'; default: all.")
]
Format = Annotated[
    str, typer.Option("--format", help="cloze, letter, or auto: letter with a chat template.")
]
Limit = Annotated[int, typer.Option(min=0, help="At most so many instances; 0: all.")]
Budget = Annotated[int, typer.Option(help="Tokens in a batch; lower it when memory runs out.")]
Out = Annotated[Path, typer.Option(help="Where the result goes.")]
Templates = Annotated[Path | None, typer.Option(help="JSON file of prompt templates.")]
TopMlp = Annotated[float, typer.Option(help="Share of gate neurons to keep (t_MLP).")]
TopAttention = Annotated[float, typer.Option(help="Share of q, k, v neurons to keep (t_attn).")]
Remove = Annotated[float, typer.Option(help="Share removed by CountryRC score (r).")]
Variant = Annotated[str, typer.Option(help="Reduction over positions: max, mean or norm.")]
Factor = Annotated[float, typer.Option(help="Multiply the neurons' activations: 0 masks.")]
Trust = Annotated[bool, typer.Option(help="Run code that comes with the model.")]


@app.command()
def run(
    model: Model = _D.model,
    task: TaskName = _D.task,
    out: Out = Path("runs/demo"),
    data: Data = None,
    countryrc_data: Annotated[
        Path | None, typer.Option(help="CountryRC's data.json; default: the bundled passages.")
    ] = None,
    templates: Templates = None,
    countries: Countries = None,
    answer_format: Format = "auto",
    limit: Limit = _D.limit,
    test_limit: Limit = _D.test_limit,
    rc_limit: Limit = _D.rc_limit,
    other_limit: Limit = _D.other_limit,
    variant: Variant = _D.variant,
    top_mlp: TopMlp = _D.top_mlp,
    top_attention: TopAttention = _D.top_attention,
    remove: Remove = _D.remove,
    control: Annotated[bool, typer.Option(help="Subtract the control's scores.")] = True,
    countryrc: Annotated[bool, typer.Option(help="Remove country-name neurons.")] = True,
    factor: Factor = _D.factor,
    seeds: Annotated[int, typer.Option(help="Random sets to compare with.")] = _D.seeds,
    matched: Annotated[
        bool, typer.Option(help="Random sets with the same count in every layer and site.")
    ] = False,
    model_class: ModelClass = "auto",
    dtype: Dtype = "float32",
    device: Device = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    trust_remote_code: Trust = False,
    token_budget: Budget = _D.token_budget,
) -> None:
    """Everything: score the neurons, select, mask them, compare with random ones, report.

    The defaults are a demonstration on a laptop. A run that was interrupted goes on where it
    stopped when the same command is given again.
    """
    study = Study(
        model=model,
        model_class=model_class,
        dtype=dtype,
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
        task=task,
        data=_text(data),
        countryrc_data=_text(countryrc_data),
        templates=_text(templates),
        countries=_country_list(countries),
        answer_format=answer_format,
        limit=limit,
        test_limit=test_limit,
        rc_limit=rc_limit,
        other_limit=other_limit,
        variant=variant,
        top_mlp=top_mlp,
        top_attention=top_attention,
        remove=remove,
        control=control,
        countryrc=countryrc,
        factor=factor,
        seeds=seeds,
        matched=matched,
        token_budget=token_budget,
    )
    table = run_study(study, out)
    _print_comparison(table)
    _console.print(f"Report: {(out / 'report.html').resolve()}", soft_wrap=True)


@app.command()
def score(
    out: Out,
    model: Model = _D.model,
    task: TaskName = _D.task,
    split: Annotated[str, typer.Option(help="neuron, control or test.")] = "neuron",
    data: Data = None,
    templates: Templates = None,
    countries: Countries = None,
    answer_format: Format = "auto",
    limit: Limit = 0,
    model_class: ModelClass = "auto",
    dtype: Dtype = "float32",
    device: Device = None,
    trust_remote_code: Trust = False,
    token_budget: Budget = _D.token_budget,
) -> None:
    """Score every neuron on one task and split; writes a .safetensors file that `select` reads."""
    instances = load_task(task, split, _country_list(countries), limit or None, data, templates)
    hooked = load_model(model, model_class, dtype, device, trust_remote_code=trust_remote_code)
    checkpoint = out.with_suffix(".checkpoint")
    scores = attribute(
        hooked, instances, answer_format, token_budget=token_budget, checkpoint=checkpoint
    )
    scores.save(out)
    checkpoint.unlink(missing_ok=True)
    _console.print(repr(scores))
    _console.print(f"Saved: {out}")


@app.command()
def select(
    scores: Annotated[Path, typer.Option(help="Scores of the cultural instances.")],
    out: Out,
    control: Annotated[Path | None, typer.Option(help="Scores of the control.")] = None,
    countryrc: Annotated[Path | None, typer.Option(help="Scores of CountryRC.")] = None,
    variant: Variant = _D.variant,
    top_mlp: TopMlp = _D.top_mlp,
    top_attention: TopAttention = _D.top_attention,
    remove: Remove = _D.remove,
) -> None:
    """Select culture-general neurons from saved scores; writes a .json file. No model needed."""
    cultural = Scores.load(scores)
    neurons = select_general(
        cultural,
        None if control is None else Scores.load(control, cultural.layout),
        None if countryrc is None else Scores.load(countryrc, cultural.layout),
        variant,
        top_mlp,
        top_attention,
        remove,
    )
    neurons.save(out)
    _console.print(repr(neurons))
    _console.print(f"Saved: {out}")


@app.command()
def evaluate(
    model: Model = _D.model,
    task: TaskName = _D.task,
    split: Annotated[str, typer.Option(help="test, usually.")] = "test",
    neurons: Annotated[Path | None, typer.Option(help="Neurons to mask (from select).")] = None,
    random_seed: Annotated[
        int | None, typer.Option(help="Mask as many random neurons instead.")
    ] = None,
    factor: Factor = 0.0,
    data: Data = None,
    templates: Templates = None,
    countries: Countries = None,
    answer_format: Format = "auto",
    limit: Limit = 0,
    out: Annotated[Path | None, typer.Option(help="CSV file, one row an instance.")] = None,
    model_class: ModelClass = "auto",
    dtype: Dtype = "float32",
    device: Device = None,
    trust_remote_code: Trust = False,
    token_budget: Budget = 2 * _D.token_budget,
) -> None:
    """Let the model answer a task, with or without masked neurons."""
    chosen = None if neurons is None else NeuronSet.load(neurons)
    if random_seed is not None:
        if chosen is None:
            raise CulnigError("--random-seed needs --neurons: it draws as many as that set has")
        chosen = select_random(chosen, random_seed)
    instances = load_task(task, split, _country_list(countries), limit or None, data, templates)
    hooked = load_model(model, model_class, dtype, device, trust_remote_code=trust_remote_code)
    frame = evaluate_instances(hooked, instances, chosen, factor, answer_format, token_budget)
    if out is not None:
        write_evaluation(frame, out)
        _console.print(f"Saved: {out}")
    table = Table(_whole("task"), "items", "accuracy %", "vocabulary %", "mean P(answer) %")
    for name, part in frame.groupby("task", sort=False):
        means = 100 * part[["correct", "correct_vocabulary", "probability"]].mean()
        table.add_row(str(name), str(len(part)), *(f"{value:.2f}" for value in means))
    _console.print(table)


@app.command()
def report(
    run_folder: Annotated[Path, typer.Option("--run", help="The folder of a finished run.")],
) -> None:
    """Write the report of a finished run again, from its files. No model needed."""
    _print_comparison(read_run(run_folder))
    _console.print(f"Report: {(run_folder / 'report.html').resolve()}", soft_wrap=True)


@app.command()
def verify(
    run_folder: Annotated[Path, typer.Option("--run", help="The folder of a finished run.")],
    prompts: Annotated[int, typer.Option(help="Questions on which neurons are ablated.")] = 6,
    sample: Annotated[int, typer.Option(help="Random neurons beside the selected ones.")] = 200,
    steps: Annotated[int, typer.Option(help="Nodes of the integrated gradient; 0: none.")] = 2,
    pairs: Annotated[int, typer.Option(help="Pairs of prompts for activation patching.")] = 24,
) -> None:
    """Check the gradient of a finished run against true ablation and activation patching.

    Ablates every selected neuron by itself, the whole set at once, and patches the set from one
    country's prompt into another's; adds a section to the run's report.
    """
    summary = verify_run(run_folder, prompts, sample, steps, pairs)
    heads = ("effects", "Pearson", "Spearman", "sign right", "top 100", "slope")
    table = Table("first order, by site", *heads)
    for row in table_rows(summary):
        values = (f"{row[name]:.2f}" for name in STATISTICS)
        table.add_row(row["site"], str(row["effects"]), *values)
    _console.print(table)
    _console.print(f"Report: {(run_folder / 'report.html').resolve()}", soft_wrap=True)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A model to count instead.")] = None,
) -> None:
    """How many neurons models have (the paper's Table 12), from configurations alone."""
    table = Table(_whole("model"), "layers", *SITES, "all")
    for label, config in {name: name}.items() if name else PAPER_MODELS.items():
        layout = count_neurons(config, str(label))
        counts = [f"{count:,}" for count in layout.counts().values()]
        table.add_row(str(label), str(layout.n_layers), *counts, f"{layout.total:,}")
    _console.print(table)


def main() -> None:
    """Entry point: errors of the user's input are one line on standard error, exit code 1."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False, show_time=False)],
    )
    logging.getLogger("culnig_tl").setLevel(logging.INFO)
    for noisy in ("huggingface_hub", "transformers", "httpx"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    transformers.utils.logging.disable_progress_bar()  # of reading weights: a second or two
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", module="(transformer_lens|transformers|torch).*")
    try:
        app(standalone_mode=False)
    except CulnigError as error:
        Console(stderr=True).print(
            f"culnig: {error}", style="red", soft_wrap=True, markup=False, highlight=False
        )
        sys.exit(1)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


def _whole(header: str) -> Column:
    """A column whose names are neither cut nor wrapped."""
    return Column(header, no_wrap=True, min_width=max(12, len(header)))


def _print_comparison(frame: pd.DataFrame) -> None:
    table = Table(_whole("accuracy %"), "items", "original", "masked", "random", "p", "p one", "")
    for row in table_rows(frame):
        table.add_row(
            row["task"],
            str(row["items"]),
            f"{row['original']:.1f}",
            f"{row['masked']:.1f}",
            f"{row['random']:.1f} ± {row['random_sd']:.1f}",
            f"{row['p_mean']:.3f}",
            f"{row['p_one']:.3f}",
            "*" if row["significant"] else "",
        )
    _console.print(table)
    _console.print(
        "masked: culture-general neurons; random: as many random ones (mean ± sd)\n"
        "p, p one: bootstrap against the random sets' mean, against one; *: both < 0.05"
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _country_list(countries: str | None) -> Any:
    if countries is None:
        return None
    return tuple(part.strip() for part in countries.split(",") if part.strip())
