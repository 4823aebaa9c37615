"""Commands on the folder of a finished run: what `culnig` offers beside `run` and its steps."""

import math
import os
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from culnig_tl.analysis.agreement import STATISTICS
from culnig_tl.cli.options import RunFolder, Trust, path_option
from culnig_tl.cli.terminal import texts
from culnig_tl.errors import CulnigError
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.processes import process_rank
from culnig_tl.study.compare_methods import compare_methods
from culnig_tl.study.export import export_run
from culnig_tl.study.finetune import finetune_run, run_modules, training_memory
from culnig_tl.study.lm_eval import lm_eval_run
from culnig_tl.study.maskings import GENERAL
from culnig_tl.study.precision import precision_run
from culnig_tl.study.report import table_rows
from culnig_tl.study.run import Run
from culnig_tl.study.short_answers import short_answers_run
from culnig_tl.study.verify import verify_run
from culnig_tl.training.modules import CHOICES
from culnig_tl.training.settings import Training

app = typer.Typer()


console = Console(quiet=process_rank() > 0)


@app.command()
def report(
    run_folder: RunFolder,
) -> None:
    """Write the report of a finished run again, from its files. No model needed."""
    run = Run.open(run_folder)
    run.write_report()
    print_comparison(run.table)
    _print_report(run_folder)


@app.command()
def verify(
    run_folder: RunFolder,
    *,
    prompts: Annotated[int, typer.Option(help="Questions on which neurons are ablated.")] = 6,
    sample: Annotated[int, typer.Option(help="Random neurons beside the selected ones.")] = 200,
    steps: Annotated[int, typer.Option(help="Nodes of the integrated gradient; 0: none.")] = 2,
    pairs: Annotated[int, typer.Option(help="Pairs of prompts for activation patching.")] = 24,
    trust_remote_code: Trust = False,
) -> None:
    """Check the gradient of a finished run against true ablation and activation patching.

    Ablates every selected neuron by itself, the whole set at once, and patches the set from one
    country's prompt into another's; adds a section to the run's report.
    """
    summary = verify_run(
        run_folder,
        prompts=prompts,
        sample=sample,
        steps=steps,
        pairs=pairs,
        trust_remote_code=trust_remote_code,
    )
    heads = ("effects", "Pearson", "Spearman", "sign right", "top 100", "slope")
    table = Table("first order, by site", *heads)
    for row in table_rows(summary):
        values = (f"{row[name]:.2f}" for name in STATISTICS)
        table.add_row(*texts(row["site"], row["effects"], *values))
    console.print(table)
    _print_report(run_folder)


@app.command("compare-methods")
def methods(
    run_folder: Annotated[Path, path_option("A finished run with --task blend.", "--run")],
    *,
    context: Annotated[int, typer.Option(help="Tokens of text in a window.")] = 128,
    quantile: Annotated[float, typer.Option(help="Above which a neuron is active.")] = 0.95,
    top: Annotated[float, typer.Option(help="Share of the gate neurons to keep.")] = 0.01,
    seeds: Annotated[int, typer.Option(help="Random sets beside each method's.")] = 1,
    trust_remote_code: Trust = False,
) -> None:
    """Find the neurons of LAPE and CAPE beside a run's own, and mask them as the run did.

    Counts on BLEnD's questions, by language and by culture; adds a section to the run's report.
    """
    table = compare_methods(
        run_folder,
        context=context,
        quantile=quantile,
        top=top,
        seeds=seeds,
        trust_remote_code=trust_remote_code,
    )
    for name, part in table.groupby(level="set", sort=False):
        print_comparison(part.droplevel("set"), name=str(name))
    _print_report(run_folder)


@app.command("short-answers")
def short_answers(
    run_folder: RunFolder,
    *,
    countries: Annotated[str | None, typer.Option(help="Comma-separated; all 16.")] = None,
    limit: Annotated[int, typer.Option(help="Questions a country.")] = 40,
    data: Annotated[Path | None, path_option("BLEnD's folder; that of the run.")] = None,
    english: Annotated[bool, typer.Option("--english", help="Ask in English.")] = False,
    max_new_tokens: Annotated[int, typer.Option(help="At which an answer ends.")] = 512,
    trust_remote_code: Trust = False,
) -> None:
    """Ask BLEnD's short questions in each country's language, with a run's neurons masked."""
    where = country_list(countries)
    table = short_answers_run(
        run_folder,
        countries=where,
        limit=limit,
        data=data,
        english=english,
        max_new_tokens=max_new_tokens,
        trust_remote_code=trust_remote_code,
    )
    print_comparison(table)
    print_place("Replies", run_folder / "short-answers")


@app.command()
def modules(
    run_folder: RunFolder,
    *,
    share: Annotated[float, typer.Option(help="Of all parameters.")] = 0.10,
    seed: Annotated[int, typer.Option(help="Of the random choices.")] = 0,
    trust_remote_code: Trust = False,
) -> None:
    """Which modules to train: attention and MLPs by the run's culture-general neurons in them."""
    for choice in CHOICES:
        chosen = run_modules(
            run_folder, share, choice, seed=seed, trust_remote_code=trust_remote_code
        )
        table = Table(whole(f"{choice}: module"), "neurons", "parameters")
        for module in chosen.modules:
            table.add_row(*texts(module, f"{module.neurons:,}", f"{module.parameters:,}"))
        console.print(table)
        print_text(f"{100 * chosen.parameters / chosen.total:.1f}% of {chosen.total:,}")
    table = Table(whole("memory to train"), "weights", f"{share:.0%} of them", "all")
    for name, row in training_memory(share).iterrows():
        values = (
            f"{row['parameters'] / 1e9:.1f} B",
            *(f"{row[k]:.0f} GiB" for k in ("share", "all")),
        )
        table.add_row(*texts(name, *values))
    console.print(table)
    console.print(
        "Weights in bfloat16, trained ones in float32 with gradient and AdamW's two moments, one "
        "copy to evaluate; activations come on top."
    )


@app.command()
def finetune(
    run_folder: RunFolder,
    task: Annotated[str, typer.Option(help="To train on: qnli, mrpc, or any other task.")],
    *,
    data: Annotated[Path | None, path_option("Its file; that of the run.")] = None,
    which: Annotated[
        str, typer.Option(help="Modules: top, bottom, random, or all for all parameters.")
    ] = ",".join(CHOICES),
    learning_rates: Annotated[str, typer.Option(help="Comma-separated.")] = "3e-5",
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0",
    share: Annotated[float, typer.Option(help="Of all parameters.")] = 0.10,
    steps: Annotated[int, typer.Option(help="Of the optimiser.")] = 600,
    batch: Annotated[int, typer.Option(help="Instances in a step.")] = 16,
    evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations.")] = 200,
    train_limit: Annotated[int, typer.Option(help="Instances to train on; 0: all.")] = 10000,
    test_limit: Annotated[int, typer.Option(help="Items of the task to test on.")] = 200,
    culture_limit: Annotated[int, typer.Option(help="Of each cultural test; 0: all.")] = 200,
    lora: Annotated[int, typer.Option(help="Rank of adapters instead (peft); 0: none.")] = 0,
    accumulation: Annotated[int, typer.Option(help="Parts in which a batch is run.")] = 1,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, a third slower.")
    ] = False,
    report_to: Annotated[str, typer.Option(help="As the Trainer knows it.")] = "none",
    keep_models: Annotated[bool, typer.Option(help="Keep each trained model.")] = True,
    trust_remote_code: Trust = False,
) -> None:
    """Train the modules with a run's neurons, or without, on a task, and watch culture.

    What was interrupted goes on; more choices, rates or seeds may be added later.
    """
    table = finetune_run(
        run_folder,
        task,
        data=data,
        which=names(which),
        learning_rates=[_number(text, float, "--learning-rates") for text in names(learning_rates)],
        seeds=[_number(text, int, "--seeds") for text in names(seeds)],
        share=share,
        training=Training(
            steps=steps,
            batch=batch,
            evaluate_every=evaluate_every,
            lora=lora,
            accumulation=accumulation,
            gradient_checkpointing=gradient_checkpointing,
            report_to=report_to,
        ),
        train_limit=train_limit,
        test_limit=test_limit,
        culture_limit=culture_limit,
        keep_models=keep_models,
        trust_remote_code=trust_remote_code,
    )
    shown = Table("modules", "rate", "neurons", task, "culture", "nats")
    for (choice, rate), row in table.iterrows():  # type: ignore[misc]
        values = (
            choice,
            f"{rate:g}",
            f"{row['neurons']:.0f}",
            f"{row['task_start']:.1f} → {row['task']:.1f}±{row['task_sd']:.1f}",
            f"{row['culture_start']:.1f} → {row['culture']:.1f}±{row['culture_sd']:.1f}",
            f"{row['culture_nats']:+.2f}",
        )
        shown.add_row(*texts(*values))
    console.print(shown)
    console.print("accuracy % before and after (mean ± sd over seeds); nats: rise of ln P(answer)")
    _print_report(run_folder)


@app.command()
def export(
    run_folder: RunFolder,
    to: Annotated[Path, path_option("A new folder.")],
    *,
    neurons: Annotated[
        Path | None, path_option("Neurons to scale; the run's culture-general ones.")
    ] = None,
    factor: Annotated[float, typer.Option(help="Of their activations: 0 masks.")] = 0.0,
    trust_remote_code: Trust = False,
) -> None:
    """Write a run's model with its neurons masked as a Hugging Face folder; no hook is needed."""
    chosen = None if neurons is None else NeuronSet.load(neurons)
    neurons_written = export_run(
        run_folder, to, neurons=chosen, factor=factor, trust_remote_code=trust_remote_code
    )
    print_text(repr(neurons_written))
    print_place("Saved", to)


@app.command()
def precision(
    run_folder: RunFolder,
    *,
    dtypes: Annotated[str, typer.Option(help="Comma-separated.")] = "bfloat16,float16",
    trust_remote_code: Trust = False,
) -> None:
    """How far a run's neurons move when its model is loaded in other dtypes.

    Scores the run's instances again in each and selects again.
    """
    table = precision_run(run_folder, dtypes=names(dtypes), trust_remote_code=trust_remote_code)
    shown = Table(
        "dtype", whole("set"), "neurons", "shared", "overlap %", "Spearman, MLP", "attention"
    )
    for (dtype, name), row in table.iterrows():  # type: ignore[misc]
        values = (
            dtype,
            name,
            f"{row['neurons']:.0f}",
            f"{row['shared']:.0f}",
            f"{100 * row['overlap']:.1f}",
            f"{row['spearman_mlp']:.4f}",
            f"{row['spearman_attention']:.4f}",
        )
        shown.add_row(*texts(*values))
    console.print(shown)
    console.print("overlap: of the run's own set; Spearman: of all neurons' rank values")


@app.command("lm-eval")
def lm_eval(
    run_folder: RunFolder,
    tasks: Annotated[str, typer.Option(help="Names of tasks or groups, comma-separated.")],
    *,
    include_path: Annotated[Path | None, path_option("A folder of task files of your own.")] = None,
    limit: Annotated[int, typer.Option(help="Documents a task at most; 0: all.")] = 0,
    few_shot: Annotated[
        int | None, typer.Option(help="Examples before each question; default: the task's.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Sequences in a batch.")] = 8,
    seeds: Annotated[int, typer.Option(help="Random sets of the run.")] = 1,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="Ask as a chat.")
    ] = False,
    trust_remote_code: Trust = False,
) -> None:
    """Any task of lm-evaluation-harness, with a run's neurons masked (extra lm-eval)."""
    table = lm_eval_run(
        run_folder,
        names(tasks),
        include_path=include_path,
        limit=limit or None,
        few_shot=few_shot,
        batch_size=batch_size,
        seeds=seeds,
        apply_chat_template=apply_chat_template,
        trust_remote_code=trust_remote_code,
    )
    shown = Table(whole("task"), "metric", "items", "original", "masked", "random")
    for (task, metric), row in table.iterrows():  # type: ignore[misc]
        of: dict[str, float] = row.to_dict()
        values = (
            task,
            metric,
            "" if math.isnan(of["items"]) else f"{of['items']:.0f}",
            f"{of['original']:.4f}"
            + ("" if math.isnan(of["stderr"]) else f" ± {of['stderr']:.4f}"),
            f"{of['masked']:.4f}",
            f"{of['random']:.4f}",
        )
        shown.add_row(*texts(*values))
    console.print(shown)
    console.print(
        f"masked: {GENERAL} neurons; random: as many random ones, the mean of {seeds}; ±: the "
        "harness's standard error over documents"
    )


def _print_report(run_folder: Path) -> None:
    print_place("Report", run_folder / "report.html")


def _number(text: str, kind: type, option: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise CulnigError(
            f"{option} has {text!r}, which is no number: give some, as 1,2"
        ) from error


def whole(header: str) -> Column:
    """A column whose names are neither cut nor wrapped."""
    return Column(header, no_wrap=True, min_width=max(12, len(header)))


def print_text(text: str) -> None:
    """A line as it is: nothing in it is rich's markup."""
    console.print(Text(text), soft_wrap=True)


def print_place(what: str, path: Path) -> None:
    print_text(f"{what}: {os.path.realpath(path)}")


def print_comparison(frame: pd.DataFrame, *, name: str = GENERAL) -> None:
    table = Table(whole("accuracy %"), "items", "original", "masked", "random", "p", "p one", "")
    for row in table_rows(frame):
        values = (
            row["task"],
            row["items"],
            f"{row['original']:.1f}",
            f"{row['masked']:.1f}",
            f"{row['random']:.1f} ± {row['random_sd']:.1f}",
            f"{row['p_mean']:.3f}",
            f"{row['p_one']:.3f}",
            "*" if row["significant"] else "",
        )
        table.add_row(*texts(*values))
    console.print(table)
    print_text(f"masked: {name} neurons; random: as many random ones (mean ± sd)")
    print_text("p, p one: bootstrap against the random sets' mean, against one; *: both < 0.05")


def names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def country_list(countries: str | None) -> tuple[str, ...] | None:
    return None if countries is None else names(countries)
