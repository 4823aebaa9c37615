"""Commands on the folder of a finished run: what `culnig` offers beside `run` and its steps.

What takes time to import is imported by the command that needs it: the others answer at once.
"""

import math
from pathlib import Path
from typing import Annotated

import typer

from culnig_tl.analysis.texts import interval_text, spread_text
from culnig_tl.cli import options as ask
from culnig_tl.cli.options import example, group_list, names, numbers, path_option
from culnig_tl.cli.tables import print_comparison, print_place, print_table, print_text
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.maskings import GENERAL
from culnig_tl.training.modules import CHOICES
from culnig_tl.training.settings import Training

app = typer.Typer()


@app.command(epilog=example("report --run runs/demo"))
def report(run_folder: ask.RunFolder) -> None:
    """Write the report of a finished run again, from its files. No model needed."""
    from culnig_tl.study.run import Run

    run = Run.open(run_folder)
    run.write_report()
    print_comparison(run.table)
    _print_report(run_folder)


@app.command(epilog=example("verify --run runs/demo --prompts 2 --sample 20"))
def verify(
    run_folder: ask.RunFolder,
    *,
    prompts: Annotated[int, typer.Option(help="Questions on which neurons are ablated.")] = 6,
    sample: Annotated[int, typer.Option(help="Random neurons beside the selected ones.")] = 200,
    steps: Annotated[int, typer.Option(help="Nodes of the integrated gradient; 0: none.")] = 2,
    pairs: Annotated[int, typer.Option(help="Pairs of prompts for activation patching.")] = 24,
    trust_remote_code: ask.Trust = False,
) -> None:
    """Check the gradient of a finished run against true ablation and activation patching.

    Ablates every selected neuron by itself, the whole set at once, and patches the set from one
    group's prompt into another's; adds a section to the run's report.
    """
    from culnig_tl.analysis.agreement import STATISTICS
    from culnig_tl.study.verify import verify_run

    summary = verify_run(
        run_folder,
        prompts=prompts,
        sample=sample,
        steps=steps,
        pairs=pairs,
        trust_remote_code=trust_remote_code,
    )
    heads = ("Pearson", "Spearman", "sign right", "top 100", "slope")
    print_table(
        {"first order, by site": "", "effects": "", **dict.fromkeys(heads, ".2f")},
        summary.reset_index()[["site", "effects", *STATISTICS]].itertuples(index=False),
    )
    _print_report(run_folder)


@app.command("compare-methods", epilog=example("compare-methods --run runs/blend"))
def methods(
    run_folder: Annotated[Path, path_option("A finished run with --task blend.", "--run")],
    *,
    context: Annotated[int, typer.Option(help="Tokens of text in a window.")] = 128,
    quantile: Annotated[float, typer.Option(help="Above which a neuron is active.")] = 0.95,
    top: Annotated[float, typer.Option(help="Share of the gate neurons to keep.")] = 0.01,
    seeds: Annotated[int, typer.Option(help="Random sets beside each method's.")] = 1,
    trust_remote_code: ask.Trust = False,
) -> None:
    """Find the neurons of LAPE and CAPE beside a run's own, and mask them as the run did.

    Counts on BLEnD's questions, by language and by culture; adds a section to the run's report.
    """
    from culnig_tl.study.compare_methods import compare_methods

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


@app.command(
    "short-answers",
    epilog=example("short-answers --run runs/blend --countries UK"),
)
def short_answers(
    run_folder: ask.RunFolder,
    *,
    countries: Annotated[str | None, typer.Option(help="Comma-separated; all 16.")] = None,
    limit: Annotated[int, typer.Option(help="Questions a country.")] = 40,
    data: Annotated[Path | None, path_option("BLEnD's folder; that of the run.")] = None,
    english: Annotated[bool, typer.Option("--english", help="Ask in English.")] = False,
    max_new_tokens: Annotated[int, typer.Option(help="At which an answer ends.")] = 512,
    trust_remote_code: ask.Trust = False,
) -> None:
    """Ask BLEnD's short questions in each country's language, with a run's neurons masked."""
    from culnig_tl.study.short_answers import short_answers_run

    table = short_answers_run(
        run_folder,
        countries=group_list(countries),
        limit=limit,
        data=data,
        english=english,
        max_new_tokens=max_new_tokens,
        trust_remote_code=trust_remote_code,
    )
    print_comparison(table)
    print_place("Replies", run_folder / "short-answers")


@app.command(epilog=example("modules --run runs/demo"))
def modules(
    run_folder: ask.RunFolder,
    *,
    share: Annotated[float, typer.Option(help="Of all parameters.")] = 0.10,
    seed: Annotated[int, typer.Option(help="Of the random choices.")] = 0,
    trust_remote_code: ask.Trust = False,
) -> None:
    """Which modules to train: attention and MLPs by the run's culture-general neurons in them."""
    from culnig_tl.study.finetune import run_modules, training_memory

    for choice in CHOICES:
        chosen = run_modules(
            run_folder, share, choice, seed=seed, trust_remote_code=trust_remote_code
        )
        print_table(
            {f"{choice}: module": "", "neurons": ",d", "parameters": ",d"},
            ((module, module.neurons, module.parameters) for module in chosen.modules),
        )
        print_text(f"{100 * chosen.parameters / chosen.total:.1f}% of {chosen.total:,}")
    columns = {"memory to train": "", "weights": "", f"{share:.0%} of them": "", "all": ""}
    rows = []
    for name, row in training_memory(share).iterrows():
        sizes = (f"{row[what]:.0f} GiB" for what in ("share", "all"))
        rows.append((name, f"{row['parameters'] / 1e9:.1f} B", *sizes))
    print_table(columns, rows)
    print_text(
        "Weights in bfloat16, trained ones in float32 with gradient and AdamW's two moments, one "
        "copy to evaluate; activations come on top."
    )


@app.command(
    epilog=example("finetune --run runs/demo --task paraphrase --test-limit 20 --steps 200")
)
def finetune(
    run_folder: ask.RunFolder,
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
    trust_remote_code: ask.Trust = False,
) -> None:
    """Train the modules with a run's neurons, or without, on a task, and watch culture.

    What was interrupted goes on; more choices, rates or seeds may be added later.
    """
    from culnig_tl.study.finetune import finetune_run

    table = finetune_run(
        run_folder,
        task,
        data=data,
        which=names(which),
        learning_rates=numbers(learning_rates, float, "--learning-rates"),
        seeds=numbers(seeds, int, "--seeds"),
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
    columns = {
        "modules": "",
        "rate": "g",
        "neurons": ".0f",
        task: "",
        "culture": "",
        "nats": "+.2f",
    }
    rows = []
    for row in table.reset_index().to_dict("records"):
        scores = (
            f"{row[f'{what}_start']:.1f} → {spread_text(row[what], row[f'{what}_sd'])}\n"
            f"{interval_text(row, f'{what}_change')}"
            for what in ("task", "culture")
        )
        rows.append(
            (row["which"], row["learning_rate"], row["neurons"], *scores, row["culture_nats"])
        )
    print_table(columns | {"nats": "+.2f"}, rows)
    print_text(
        "accuracy % before and after (mean ± sd over seeds), below it the change in points with "
        "its 95% interval by a bootstrap over questions; nats: rise of ln P(answer)"
    )
    _print_report(run_folder)


@app.command(epilog=example("export --run runs/demo --to masked-model"))
def export(
    run_folder: ask.RunFolder,
    to: Annotated[Path, path_option("A new folder.")],
    *,
    neurons: Annotated[
        Path | None, path_option("Neurons to scale; the run's culture-general ones.")
    ] = None,
    factor: Annotated[float, typer.Option(help="Of their activations: 0 masks.")] = 0.0,
    trust_remote_code: ask.Trust = False,
) -> None:
    """Write a run's model with its neurons masked as a Hugging Face folder; no hook is needed."""
    from culnig_tl.study.export import export_run

    chosen = None if neurons is None else NeuronSet.load(neurons)
    neurons_written = export_run(
        run_folder, to, neurons=chosen, factor=factor, trust_remote_code=trust_remote_code
    )
    print_text(repr(neurons_written))
    print_place("Saved", to)


@app.command(epilog=example("precision --run runs/demo --dtypes bfloat16"))
def precision(
    run_folder: ask.RunFolder,
    *,
    dtypes: Annotated[str, typer.Option(help="Comma-separated.")] = "bfloat16,float16",
    trust_remote_code: ask.Trust = False,
) -> None:
    """How far a run's neurons move when its model is loaded in other dtypes.

    Scores the run's instances again in each and selects again.
    """
    from culnig_tl.study.precision import precision_run

    table = precision_run(run_folder, dtypes=names(dtypes), trust_remote_code=trust_remote_code)
    columns = {"set": "", "dtype": "", "neurons": ".0f", "shared": ".0f", "overlap %": ".1f"}
    columns |= {"Spearman, MLP": ".4f", "attention": ".4f"}
    table = table.assign(overlap=100 * table["overlap"]).reset_index()
    shown = ["set", "dtype", "neurons", "shared", "overlap", "spearman_mlp", "spearman_attention"]
    print_table(columns, table[shown].itertuples(index=False))
    print_text("overlap: of the run's own set; Spearman: of all neurons' rank values")


@app.command(epilog=example("neurons --run runs/demo"))
def neurons(
    run_folder: ask.RunFolder,
    *,
    neurons: Annotated[
        Path | None, path_option("A set of your own (JSON); default: the run's.")
    ] = None,
    texts: Annotated[
        Path | None, path_option("Texts of your own, one a line, on which they are looked at too.")
    ] = None,
    prompts: Annotated[
        int, typer.Option(help="Test questions on which each is really set to 0.")
    ] = 4,
    contexts: Annotated[int, typer.Option(help="Contexts of each side.")] = 3,
    trust_remote_code: ask.Trust = False,
) -> None:
    """A page on which every neuron of a run's set shows what it does, and the same as JSON.

    Its scores, its true effect beside the estimates, where it is most active, what it writes, what
    goes with it.
    """
    from culnig_tl.study.neuron_pages import neurons_run

    file = neurons_run(
        run_folder,
        neurons=None if neurons is None else NeuronSet.load(neurons),
        texts=texts,
        prompts=prompts,
        contexts=contexts,
        trust_remote_code=trust_remote_code,
    )
    print_place("Page", file)


@app.command("lm-eval", epilog=example("lm-eval --run runs/demo --tasks arc_easy --limit 200"))
def lm_eval(
    run_folder: ask.RunFolder,
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
    trust_remote_code: ask.Trust = False,
) -> None:
    """Any task of lm-evaluation-harness, with a run's neurons masked (extra lm-eval)."""
    from culnig_tl.study.lm_eval import lm_eval_run

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
    columns = {"task": "", "metric": "", "items": "", "original": ""}
    rows = []
    for (name, metric), row in table.iterrows():  # type: ignore[misc]
        of: dict[str, float] = row.to_dict()
        items = "" if math.isnan(of["items"]) else f"{of['items']:.0f}"
        error = "" if math.isnan(of["stderr"]) else f" ± {of['stderr']:.4f}"
        original = f"{of['original']:.4f}{error}"
        rows.append((name, metric, items, original, of["masked"], of["random"]))
    print_table(columns | {"masked": ".4f", "random": ".4f"}, rows)
    print_text(
        f"masked: {GENERAL} neurons; random: as many random ones, the mean of {seeds}; ±: the "
        "harness's standard error over documents"
    )


def _print_report(run_folder: Path) -> None:
    print_place("Report", run_folder / "report.html")
