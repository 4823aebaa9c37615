"""The step finetune: modules with a run's neurons trained against those without (figure 5)."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.analysis.evaluations import metric_values, read_evaluation, rows_of
from culnig_tl.analysis.plots import finetuning_figure
from culnig_tl.checks import check_choice, check_count, check_share
from culnig_tl.errors import CulnigError
from culnig_tl.frames import COUNT, MAYBE_NUMBER, NAME, NUMBER, Frame, numbers, one_of, read_frame
from culnig_tl.paths import check_inputs_outside
from culnig_tl.resampling import RESAMPLES, interval, question_numbers, resampled_means
from culnig_tl.schemas import read_object
from culnig_tl.study.arguments import Study
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.study.run import Run
from culnig_tl.study.same_study import set_hashes
from culnig_tl.study.section import Section, read_frames, shown_rows
from culnig_tl.tasks import TASKS, load_task
from culnig_tl.tasks.instances import Instance, content_hash
from culnig_tl.training.curves import TRAINING, step_file
from culnig_tl.training.modules import CHOICES, ModuleSet, select_modules
from culnig_tl.training.settings import DEFAULT_TRAINING, Training
from culnig_tl.training.splitting import split_instances

CULTURAL = ("everyday", "blend", "culturalbench", "normad", "worldvaluesbench")
ALL = "all"
_RUN = ["which", "learning_rate", "seed"]
_WHICH = (*CHOICES, ALL)
_COMBINATION = {"which": one_of(_WHICH), "learning_rate": NUMBER}
FINETUNINGS = {
    "table": Frame(
        {**_COMBINATION, "seeds": COUNT, "neurons": NUMBER},
        key=tuple(_COMBINATION),
        rest=MAYBE_NUMBER,
    ),
    "curves": Frame(
        {
            **_COMBINATION,
            "seed": COUNT,
            **TRAINING.columns,
            "neurons": COUNT,
            "trained": NAME,
        },
        key=("which", "learning_rate", "seed", "step", "task"),
        optional=TRAINING.optional,
    ),
}
_log = logging.getLogger(__name__)


def finetune_run(
    run: Run | str | Path,
    task: str,
    *,
    data: str | Path | None = None,
    which: Sequence[str] = CHOICES,
    learning_rates: Sequence[float] = (3e-5,),
    seeds: Sequence[int] = (0,),
    share: float = 0.10,
    training: Training = DEFAULT_TRAINING,
    train_limit: int = 10000,
    test_limit: int = 200,
    culture_limit: int = 200,
    keep_models: bool = True,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Train modules of a finished run's model on `task`, chosen by the run's culture-general
    neurons, and watch the task and the run's cultural tests.

    Every combination of `which`, `learning_rates` and `seeds` is one fine-tuning, in
    `finetune/TASK/WHICH-RATE-SEED` (`finetune`); what is there is not done again, and more
    may be added later. Over all of them `finetune/TASK/curves.csv` and table.csv are written,
    and the run's report anew, with a section on them.

    Args:
        run: a finished run, or its folder.
        task: any that `load_task` knows. Its split `train` where it has one and comes from the
            Hub; otherwise its test instances are divided, `test_limit` items to test on.
        data: its local file or folder; None takes that of the run, or the Hub.
        which: of `select_modules`, and `all` for all parameters.
        seeds: of the order of the data, and of the choice of modules.
        share: as `select_modules`.
        train_limit, test_limit, culture_limit: instances at most; 0 takes all.
        training: as `finetune`, but for the learning rate and the seed, which are varied.
        keep_models: False deletes each trained model when it has been evaluated.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        table.csv: `finetune_table`, and `question_changes`.

    Raises:
        CulnigError: not a finished run, unknown choices, the folder holds a comparison with
            other arguments or data, or as `finetune`, before anything is evaluated.
    """
    from culnig_tl.models.prompts import model_prompts
    from culnig_tl.training.finetuning import check_finetuning, finetune

    trainings = _varied(training, which, learning_rates=learning_rates, seeds=seeds)
    check_share("share", share)
    for what, value in (("train_limit", train_limit), ("culture_limit", culture_limit)):
        check_count(what, value)
    check_choice("task", task, TASKS)
    run = Run.for_step(run, trust_remote_code=trust_remote_code)
    if data is not None:
        check_inputs_outside(run.folder, {"data": data})
    study, neurons = run.study, run.neurons
    train, tests = finetune_data(
        study,
        task,
        data=data,
        train_limit=train_limit,
        test_limit=test_limit,
        culture_limit=culture_limit,
    )
    check_finetuning(train, tests, training)
    chosen = {
        (choice, seed): select_modules(
            neurons,
            study.model,
            share=share,
            which=choice,
            seed=seed,
            trust_remote_code=study.trust_remote_code,
        )
        for choice, seed in product(which, seeds)
        if choice != ALL
    }
    step = run.step(
        "finetune",
        part=task,
        share=share,
        **{name: getattr(training, name) for name in ("steps", "batch", "evaluate_every", "lora")},
        train=len(train),
        tests=len(tests),
        train_hash=content_hash(train),
        tests_hash=content_hash(tests),
        sets=set_hashes([neurons]),
    )
    start = step.folder / "start.csv"
    if not start.exists():
        model_prompts(step.model, [*train, *tests], answer_format=study.answer_format)
    before = step.evaluation(start, tests)
    vars(step).pop("model", None)  # its weights, before others are loaded
    for number, (choice, one) in enumerate(trainings, start=1):
        place = step.folder / f"{choice}-{one.learning_rate:g}-{one.seed}"
        if (place / "scores.csv").exists():
            continue
        _log.info("fine-tuning %s (%d of %d)", place.name, number, len(trainings))
        modules = chosen.get((choice, one.seed))
        if modules is not None:
            modules.save(place / "modules.json")
        hf_model, tokenizer = run.load_hf_model()
        finetune(
            hf_model,
            tokenizer,
            train,
            tests=tests,
            out=place,
            modules=modules,
            training=one,
            answer_format=study.answer_format,
            name=study.model,
            model_class=study.model_class,
            device=study.device,
            start=before,
        )
        if not keep_models:
            shutil.rmtree(place / "model")
    curves = read_curves(step.folder)
    table = finetune_table(curves).join(question_changes(step.folder, curves))
    step.write("curves", curves, index=False)
    step.write("table", table)
    run.write_report()
    return table


def _varied(
    training: Training,
    which: Sequence[str],
    *,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
) -> list[tuple[str, Training]]:
    """Every combination of the three lists.

    Raises:
        CulnigError: a list is empty, or holds what may not be in it.
    """
    for what, values, example in (
        ("which", which, "top,bottom"),
        ("learning_rates", learning_rates, "1e-5,3e-5"),
        ("seeds", seeds, "0,1"),
    ):
        if not len(values):
            raise CulnigError(f"no {what}: give some, as {example}")
    for choice in which:
        check_choice("choice", choice, (*CHOICES, ALL))
    return [
        (choice, replace(training, learning_rate=rate, seed=seed))
        for choice, rate, seed in product(which, learning_rates, seeds)
    ]


def finetune_data(
    study: Study,
    task: str,
    *,
    data: str | Path | None = None,
    train_limit: int = 10000,
    test_limit: int = 200,
    culture_limit: int = 200,
) -> tuple[list[Instance], list[Instance]]:
    """What to train on, and what to test on: the task itself first, then the cultural tests."""
    data = data or study.data.get(task)
    if task in TASKS and "train" in TASKS[task].splits and data is None:
        train = load_task(task, "train", limit=train_limit or None, templates=1)
        own = load_task(task, "test", limit=test_limit or None, templates=1)
    else:
        train, own = split_instances(load_task(task, "test", data=data, templates=1), test_limit)
        train = train[: train_limit or None]
    cultural = [study.task, *(t for t in study.tests if t in CULTURAL and t != study.task)]
    for name in cultural:
        if name != task:
            own += load_task(
                name,
                "test",
                groups=study.groups,
                limit=culture_limit or None,
                data=study.data.get(name),
                templates=study.templates if name == study.task and study.templates else 1,
            )
    return train, own


def run_modules(
    run: Run | str | Path, share: float, which: str, *, seed: int, trust_remote_code: bool = False
) -> ModuleSet:
    """`select_modules` of a finished run's model and its culture-general neurons.

    Raises:
        CulnigError: not a finished run, or as `select_modules`.
    """
    run = Run.for_step(run, trust_remote_code=trust_remote_code, numbers=False)
    return select_modules(
        run.neurons,
        run.study.model,
        share=share,
        which=which,
        seed=seed,
        trust_remote_code=run.study.trust_remote_code,
    )


def training_memory(share: float) -> pd.DataFrame:
    """What training takes of the paper's six models, in GiB, without activations.

    All weights in bfloat16, and once more in the copy that is evaluated; each trained one in
    float32 instead, with its gradient and AdamW's two moments.

    Returns:
        One row a model: parameters; GiB with `share` of them trained, and with all.
    """
    from culnig_tl.models.configs import skeleton

    rows = {}
    for name, paper in PAPER_MODELS.items():
        count = sum(weight.numel() for weight in skeleton(paper.config()).parameters())
        memory = {
            what: (2 * (2 - x) + 16 * x) * count / 2**30
            for what, x in (("share", share), ("all", 1.0))
        }
        rows[name] = {"parameters": count, **memory}
    return pd.DataFrame(rows).T


def read_curves(folder: Path) -> pd.DataFrame:
    """The scores of all fine-tunings in `folder`: which, learning_rate, seed, step, task,
    `finetune`'s columns, neurons in the trained modules, and trained, the task that was.

    Raises:
        CulnigError: there is none.
    """
    parts = []
    for file in sorted(folder.glob("*/scores.csv")):
        about = read_object(file.with_name("finetune.json"), {"learning_rate": float, "seed": int})
        saved = file.with_name("modules.json")
        modules = ModuleSet.load(saved) if saved.exists() else None
        frame = read_frame(file, TRAINING)
        frame.insert(0, "which", ALL if modules is None else modules.name)
        frame.insert(1, "learning_rate", about["learning_rate"])
        frame.insert(2, "seed", about["seed"])
        frame["neurons"] = 0 if modules is None else sum(m.neurons for m in modules.modules)
        frame["trained"] = folder.name
        parts.append(frame)
    if not parts:
        raise CulnigError(f"{folder} holds no finished fine-tuning: run culnig finetune first")
    return pd.concat(parts, ignore_index=True)


def finetune_table(curves: pd.DataFrame) -> pd.DataFrame:
    """What training does to the task and to culture, means over the seeds, at the kept step.

    Returns:
        One row a choice and learning rate: seeds, neurons; `task` and `culture` before
        (`_start`) and after in percent, culture as the mean over the cultural tests, with the
        standard deviation over seeds (`_sd`); culture_nats: how far the mean of ln P(y|x) rose.

    Raises:
        CulnigError: a value that is no number; fine-tunings that were tested on other items, or
            that have not one step 0 and one kept step each.
    """
    for column in ("accuracy", "nats"):
        numbers(curves, column, "the curves", key=["task", "step"])
    counts = curves.groupby("task")["items"].nunique()
    if (counts > 1).any():
        raise CulnigError(
            f"the fine-tunings were tested on different items of {counts.idxmax()!r}: compare "
            "those of one comparison"
        )
    wide = _wide(curves)
    first = wide[wide["step"] == 0].set_index(_RUN)
    kept = wide[wide["kept"]].set_index(_RUN)
    for what, rows in (("step 0", first), ("kept step", kept)):
        if rows.index.has_duplicates or set(rows.index) != {*map(tuple, wide[_RUN].to_numpy())}:
            raise CulnigError(
                f"a fine-tuning of {curves['trained'].iloc[0]!r} has no {what}, or two: delete its "
                "folder and train again"
            )
    rows = pd.DataFrame(
        {
            "neurons": kept["neurons"],
            "step": kept["step"],
            "task_start": first["task"],
            "task": kept["task"],
            "culture_start": first["culture"],
            "culture": kept["culture"],
            "culture_nats": kept["culture_nats"] - first["culture_nats"],
        }
    )
    grouped = rows.groupby(["which", "learning_rate"])
    table = grouped.mean()
    table.insert(0, "seeds", grouped.size())
    for name in ("task", "culture"):
        # Of one seed there is none.
        table[f"{name}_sd"] = grouped[name].std(ddof=0).where(table["seeds"] > 1)
    return table


def question_changes(folder: Path, curves: pd.DataFrame) -> pd.DataFrame:
    """How far the kept step is from the start, by a bootstrap over questions; means over the seeds.

    Returns:
        One row a choice and learning rate: task_change and culture_change in points, each with
        its 95% interval (`_low`, `_high`), and that of culture_nats.

    Raises:
        CulnigError: an evaluation is missing or damaged.
    """
    before = read_evaluation(folder / "start.csv")
    questions = question_numbers(before)
    kept = curves[curves["kept"]].drop_duplicates(_RUN)
    own = (before["task"] == curves["trained"].iloc[0]).to_numpy()
    rows = {}
    for key, part in kept.groupby(["which", "learning_rate"]):
        places = [folder / f"{r.which}-{r.learning_rate:g}-{r.seed}" for r in part.itertuples()]
        frames = [
            rows_of(read_evaluation(step_file(place, step)), before, f"the evaluations of {place}")
            for place, step in zip(places, part["step"], strict=True)
        ]
        row: dict[str, float] = {}
        for name, here, metric in (
            ("task_change", own, "correct"),
            ("culture_change", ~own, "correct"),
            ("culture_nats", ~own, "nats"),
        ):
            after = np.mean([metric_values(frame, metric) for frame in frames], axis=0)
            change = after - metric_values(before, metric)
            # Every test counts as much as another, as in `finetune_table`.
            rng = np.random.default_rng(0)
            tests = [
                (change[at], questions[at]) for _, at in before[here].groupby("task").groups.items()
            ]
            if not tests:
                continue
            drawn = np.mean(
                [resampled_means(c, q, resamples=RESAMPLES, rng=rng) for c, q in tests], axis=0
            )
            if name != "culture_nats":  # `finetune_table` has it
                row[name] = float(np.mean([c.mean() for c, _ in tests]))
            row[f"{name}_low"], row[f"{name}_high"] = interval(drawn)
        rows[key] = row
    return pd.DataFrame(rows).T.rename_axis(index=["which", "learning_rate"])


def _wide(curves: pd.DataFrame) -> pd.DataFrame:
    """One row a step of a fine-tuning: its task's accuracy beside that of the cultural tests."""
    own = curves["task"] == curves["trained"]
    keys = [*_RUN, "step", "kept", "neurons"]
    task = curves[own].groupby(keys)["accuracy"].mean().rename("task")
    culture = curves[~own].groupby(keys)[["accuracy", "nats"]].mean()
    culture.columns = ["culture", "culture_nats"]
    return pd.concat([task, culture], axis=1).reset_index()


def _read(folder: Path) -> dict[str, dict[str, pd.DataFrame]] | None:
    """By task: the frames of `FINETUNINGS`."""
    tasks = sorted(file.parent for file in (folder / "finetune").glob("*/table.csv"))
    found = {task.name: read_frames(task, FINETUNINGS) for task in tasks}
    return {name: frames for name, frames in found.items() if frames is not None} or None


def _show(found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Axes]]:
    """The table and the figure of each task on which modules were trained."""
    figures = {
        f"finetuning {task}": finetuning_figure(frames["curves"]).axes[0]
        for task, frames in found.items()
    }
    tables = {
        task: shown_rows(frames["table"].set_index("which")) for task, frames in found.items()
    }
    return {"tasks": tables}, figures


SECTION = Section("finetune", _read, _show)
