"""The step lm-eval: lm-evaluation-harness with a run's neurons masked, through weights alone."""

import contextlib
import importlib.metadata
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from culnig_tl.checks import check_count, check_file_name
from culnig_tl.errors import CulnigError
from culnig_tl.files import write_json
from culnig_tl.frames import MAYBE_NUMBER, NAME, NUMBER, Frame, read_frame
from culnig_tl.models.identity import files_hash
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.processes import process_count
from culnig_tl.provenance import sha256_of
from culnig_tl.schemas import read_object
from culnig_tl.study.maskings import GENERAL
from culnig_tl.study.run import Run
from culnig_tl.study.same_study import set_hashes
from culnig_tl.study.section import Section, table_rows

ORIGINAL = "original"
# Resamples for the standard error of metrics that are no means; the harness takes ten times more.
BOOTSTRAP = 10_000
_SCHEMA = {
    "results": {...: dict},
    "n-samples": {...: {"effective?": int}},
}
_log = logging.getLogger(__name__)


def lm_eval_run(
    run: Run | str | Path,
    tasks: Sequence[str],
    *,
    include_path: str | Path | None = None,
    limit: int | None = None,
    few_shot: int | None = None,
    batch_size: int = 8,
    seeds: int = 1,
    apply_chat_template: bool = False,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Evaluate tasks of lm-evaluation-harness on a finished run's model, with and without neurons.

    Three kinds of model, all through the harness's own class for Hugging Face models: the
    original, the one with the run's culture-general neurons masked in its weights
    (`scale_weights`, by the run's factor), and with each of `seeds` random sets of the run. What
    the harness gave is kept in `lm-eval/TASK/SET.json` and not done again; `table.csv` beside
    them holds what is returned.

    Args:
        run: a finished run, or its folder.
        tasks: names of tasks or groups, the harness's own or those in `include_path`.
        include_path: a folder of task files (YAML) of one's own.
        limit: at most so many documents a task; None or 0 takes all.
        few_shot: examples before each question; None takes what the task says.
        batch_size: sequences in a batch.
        seeds: random sets.
        apply_chat_template: as the harness's option of that name.
        trust_remote_code: as `load_model`; a run's own file gives no trust.

    Returns:
        By task and metric: items, original, masked, random (mean over the sets), random_sd
        (population standard deviation over them), stderr (the harness's, of the original).

    Raises:
        CulnigError: not a finished run, no lm-eval, an unknown task, one whose data cannot be
            had, other arguments than before, several processes, or a metric that is NaN or
            infinite.
    """
    if process_count() > 1:
        raise CulnigError("lm-eval runs in one process: start it without torchrun")
    for what, value in (("seeds", seeds), ("batch_size", batch_size)):
        check_count(what, value, least=1)
    for what, value in (("limit", limit), ("few_shot", few_shot)):
        if value is not None:
            check_count(what, value)
    limit = limit or None
    run = Run.for_step(run, trust_remote_code=trust_remote_code)
    study, culture = run.study, run.neurons
    sets = {ORIGINAL: None, culture.name: culture}
    sets |= {neurons.name: neurons for neurons in run.random(seeds)}
    if not tasks:
        raise CulnigError("no task: give names of lm-eval's tasks with --tasks")
    for task in tasks:
        check_file_name("the task", task)
    if include_path is not None and not Path(include_path).is_dir():
        raise CulnigError(f"no folder {include_path}: check --include-path")
    arguments = {
        "limit": limit,
        "few_shot": few_shot,
        "apply_chat_template": apply_chat_template,
        "factor": study.factor,
        "include": None if include_path is None else files_hash(Path(include_path)),
        "sets": set_hashes([culture]),
    }
    home = run.folder / "lm-eval"
    left_of = {
        name: [task for task in tasks if not (home / task / f"{name}.json").exists()]
        for name in sets
    }
    if any(left_of.values()):
        manager = _task_manager(include_path)  # reads thousands of files: some seconds
        unknown = [task for task in tasks if task not in manager.match_tasks([task])]
        if unknown:
            raise CulnigError(
                f"lm-eval has no task {unknown[0]!r}: 'lm-eval ls tasks' lists them; for your "
                "own, give their folder with --include-path"
            )
        arguments["lm_eval"] = importlib.metadata.version("lm_eval")
    left_tasks = {task for left in left_of.values() for task in left}
    # Their data too are read before the first model is.
    asked = {task: _documents(task, manager) for task in tasks if task in left_tasks}
    steps = {}
    for task in tasks:
        documents = {"documents": asked[task]} if task in asked else {}
        steps[task] = run.step("lm-eval", part=task, **arguments, **documents)
    for name, left in left_of.items():
        if not left:
            continue
        model = _harness_model(run, sets[name], batch_size)
        for task in left:
            _log.info("lm-eval: %s, %s", task, name)
            found = _evaluate(
                model,
                task,
                manager,
                limit=limit,
                few_shot=few_shot,
                apply_chat_template=apply_chat_template,
            )
            _check_metrics(found, name)
            write_json(home / task / f"{name}.json", found)
    frames = []
    for step in steps.values():
        found = {name: read_object(step.folder / f"{name}.json", _SCHEMA) for name in sets}
        frames.append(_table(found))
        step.write("table", frames[-1])
    run.write_report()
    return pd.concat(frames)


def _task_manager(include_path: str | Path | None) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise CulnigError(
            "lm-evaluation-harness is not installed: pip install 'culnig-tl[lm-eval]'"
        ) from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager(include_path=None if include_path is None else str(include_path))


def _harness_model(run: Run, neurons: NeuronSet | None, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    from culnig_tl.models.devices import default_device
    from culnig_tl.training.weights import scale_weights

    study = run.study
    hf_model, tokenizer = run.load_hf_model(devices=study.devices)
    if neurons is not None:
        scale_weights(hf_model, neurons, factor=study.factor)
    if study.devices == 1:
        hf_model = hf_model.to(study.device or default_device())
    wrap: Any = HFLM  # its class hides its arguments from type checkers
    return wrap(pretrained=hf_model, tokenizer=tokenizer, batch_size=batch_size)


def _documents(task: str, manager: Any) -> str:
    """A hash of all that a task, or each task of a group, asks."""
    with _one_line(task):
        loaded = manager.load([task])["tasks"]
        asked = {name: list(one.eval_docs) for name, one in loaded.items()}
    return sha256_of(json.loads(json.dumps(asked, default=str)))


@contextlib.contextmanager
def _one_line(task: str) -> Iterator[None]:
    """What the harness raises as one line; it prints to standard output, which is the table's."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CulnigError(
            f"lm-eval cannot run {task!r}: check its data and its file ({reason})"
        ) from error


def _evaluate(
    model: Any,
    task: str,
    manager: Any,
    *,
    limit: int | None,
    few_shot: int | None,
    apply_chat_template: bool,
) -> dict[str, Any]:
    """What the harness says of a task: its results, the numbers of documents, versions."""
    from lm_eval import simple_evaluate

    evaluate: Any = simple_evaluate  # its decorator hides its arguments from type checkers
    with _one_line(task):
        found = evaluate(
            model,
            tasks=[task],
            task_manager=manager,
            limit=limit,
            num_fewshot=few_shot,
            apply_chat_template=apply_chat_template,
            log_samples=False,
            bootstrap_iters=BOOTSTRAP,
        )
    assert found is not None
    kept = {key: found.get(key, {}) for key in ("results", "n-samples", "versions", "n-shot")}
    return json.loads(json.dumps(kept, default=str))


def _metrics(results: dict[str, Any]) -> dict[str, int | float]:
    """A task's metrics without their standard errors, and without what is no number."""
    return {
        name: value
        for name, value in results.items()
        if "," in name and "_stderr," not in name and isinstance(value, int | float)
    }


def _check_metrics(found: dict[str, Any], name: str) -> None:
    """Refuse what the harness gave with the set `name` where a metric is NaN or infinite.

    Its standard error may be: that of a single document is.
    """
    for task, results in found["results"].items():
        for metric, value in _metrics(results).items():
            if not np.isfinite(value):
                raise CulnigError(
                    f"lm-eval's {metric.split(',')[0]} of {task!r} is {value} with {name!r}: the "
                    "model overflows, use a run in dtype float32"
                )


def _table(found: dict[str, Any]) -> pd.DataFrame:
    """One row a task and metric, from what the harness gave by set.

    Raises:
        CulnigError: a metric that is NaN or infinite, one that a set lacks, or none at all.
    """
    for name, one in found.items():
        _check_metrics(one, name)
    items = found[ORIGINAL]["n-samples"]
    random = [name for name in found if name not in (ORIGINAL, GENERAL)]
    rows = []
    for task, original in found[ORIGINAL]["results"].items():
        for metric, value in _metrics(original).items():
            for other, one in found.items():
                if metric not in _metrics(one["results"].get(task, {})):
                    raise CulnigError(
                        f"lm-eval gave no {metric!r} of {task!r} with {other!r}: delete that "
                        "task's folder and evaluate it again"
                    )
            name, _, chosen = metric.partition(",")
            drawn = [found[one]["results"][task][metric] for one in random]
            stderr = original.get(f"{name}_stderr,{chosen}")
            rows.append(
                {
                    "task": task,
                    "metric": name if chosen == "none" else f"{name} ({chosen})",
                    "items": items.get(task, {}).get("effective", np.nan),
                    "original": value,
                    "masked": found[GENERAL]["results"][task][metric],
                    "random": np.mean(drawn),
                    "random_sd": np.std(drawn) if len(drawn) > 1 else np.nan,
                    "stderr": stderr if isinstance(stderr, float) else np.nan,
                }
            )
    if not rows:
        raise CulnigError("lm-eval gave no metric: delete that task's folder and evaluate it again")
    return pd.DataFrame(rows).set_index(["task", "metric"])


LM_EVAL = Frame(
    {"task": NAME, "metric": NAME, "original": NUMBER, "masked": NUMBER, "random": NUMBER},
    key=("task", "metric"),
    rest=MAYBE_NUMBER,
)


def _read(folder: Path) -> pd.DataFrame | None:
    """The tables of all tasks, one after the other."""
    files = sorted((folder / "lm-eval").glob("*/table.csv"))
    frames = [read_frame(file, LM_EVAL) for file in files]
    return pd.concat(frames, ignore_index=True) if frames else None


def _show(table: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Axes]]:
    columns = ["task", "metric", "items", "original", "stderr", "masked", "random", "random_sd"]
    return {"table": table_rows(table.loc[:, columns])}, {}


SECTION = Section("lm-eval", _read, _show)
