"""Which way of selecting finds the neurons whose mask costs culture most, and the rest least?

1. The questions of the run's own test, of which nothing was scored, are halved by a stable hash of
   what they ask: `choose` is for making up methods, `confirm` for those that are made up. Retained
   tests are parted in the same way: a quarter for methods that look at what is to be kept, a
   quarter to choose, half to confirm.
2. Each method (`selecting.METHODS`) ranks all neurons. Of the highest as many are taken in each
   pool as the run's own set has, without those that answer to names.
3. Masked, each set answers `choose`, and with `--confirm` also `confirm`, once: `confirmed.json`
   says when, and another set of that name is refused.
4. A method's effect is its change beyond the mean of the run's matched random sets. Specificity is
   culture's loss less the mean loss of the retained tests. What is drawn again for the intervals is
   what is asked, with all countries' forms of it: they rise and fall together.
5. A method wins if on `confirm` its specificity is above the paper's (p below 0.05 after Holm's
   correction over the methods), and culture loses no less than with the paper's, but for chance.
   On a model that knows nothing of culture none may: what wins there is no measure of culture.

Goes on where it stopped.

    python benchmarks/selection.py --run runs/study --methods first_order,contrast
    python benchmarks/selection.py --run runs/study --methods first_order,contrast --confirm
"""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import argparse
import datetime
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from common import RESULTS, machine
from selecting import METHODS, PAPER, Material, of_size
from selection_plot import plot_selection

from culnig_tl.analysis.evaluations import metric_values
from culnig_tl.errors import CulnigError
from culnig_tl.files import read_json, write_json
from culnig_tl.frames import write_frame
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.provenance import sha256_of
from culnig_tl.resampling import (
    RESAMPLES,
    SIGNIFICANT,
    interval,
    p_value,
    question_numbers,
    resampled_means,
    verdicts,
)
from culnig_tl.study.maskings import GENERAL
from culnig_tl.study.once import evaluation_once
from culnig_tl.study.run import Run
from culnig_tl.tasks import load_task
from culnig_tl.tasks.instances import Instance, stable_random

Half = Literal["choose", "confirm"]
METRICS = {"correct": "points", "nats": "nats"}
RETAINED = ("countryrc", "commonsenseqa", "mrpc", "commonsense", "paraphrase")
# What a retained test's questions are for, by their share.
PARTS = {"keep": 0.25, "choose": 0.25, "confirm": 0.5}
HALVES: tuple[Half, ...] = ("choose", "confirm")
OUT = RESULTS / "selection"


def parts_of(run: Run) -> dict[str, dict[str, list[Instance]]]:
    """The instances of each part by task; the run's own test first, of which nothing is kept."""
    study = run.study
    found: dict[str, dict[str, list[Instance]]] = {part: {} for part in PARTS}
    for one in run.own_data.tests[study.task]:
        found[half_of(one)].setdefault(study.task, []).append(one)
    for task in RETAINED:
        for one in load_task(task, "test", data=study.data.get(task), templates=1):
            (part,) = stable_random("retained", one.topic).choices([*PARTS], [*PARTS.values()])
            found[part].setdefault(task, []).append(one)
    return found


def half_of(instance: Instance) -> Half:
    """All countries' forms of one question are in the same half."""
    return stable_random("selection", instance.topic).choice(HALVES)


def answers(
    material: Material, name: str, neurons: NeuronSet | None, half: Half, parts: Mapping
) -> pd.DataFrame:
    """The evaluation of one half with these neurons masked, made where it is not there.

    What the run itself evaluated on its own test is taken from there. A file's name has the hash
    of the set: a method that changes is asked anew.
    """
    run, asked = material.run, parts[half]
    own = run.study.task
    folder = material.home / half
    file = name if neurons is None else f"{name}-{hash_of(neurons)[:8]}"
    known = {PAPER: GENERAL}.get(name, name)
    rest = [one for task, part in asked.items() for one in part if task != own]
    if known in run.evaluations:
        frame = run.evaluation(known)
        frame = frame[frame["task"] == own].set_index(["id", "template"], drop=False)
        first = frame.loc[[(one.id, one.template) for one in asked[own]]]
    else:
        first = evaluation_once(
            folder / f"{file}-own.csv", material.model, asked[own], study=run.study, neurons=neurons
        )
    second = evaluation_once(
        folder / f"{file}.csv", material.model, rest, study=run.study, neurons=neurons
    )
    return pd.concat([first, second], ignore_index=True)


def hash_of(neurons: NeuronSet) -> str:
    """Of its neurons, whatever its name."""
    return sha256_of(neurons.ids.tolist())


def confirm_once(file: Path, neurons: NeuronSet) -> None:
    """Note that this set is confirmed now, unless it is noted already.

    Raises:
        CulnigError: another set was confirmed by this name.
    """
    noted = read_json(file) if file.exists() else {}
    hashed = hash_of(neurons)
    entry = noted.setdefault(
        neurons.name,
        {
            "set": hashed,
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    )
    if entry["set"] != hashed:
        raise CulnigError(
            f"{neurons.name} was confirmed with another set at {entry['at']}: a method is "
            "confirmed once; give the new one a name of its own"
        )
    write_json(file, noted)


def effects(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    random: Sequence[pd.DataFrame],
    *,
    own: str,
) -> pd.DataFrame:
    """Change beyond random of each method and test; and each method less the paper's.

    All frames have the same rows. `rest` is the mean of the retained tests, each of which counts
    as one, and `specificity` what the test `own` loses more than that. `p` is for the difference
    to the paper's, `p_holm` after Holm's correction over the methods of one test and metric.
    """
    rng = np.random.default_rng(0)
    asked = form_numbers(original)
    questions = question_numbers(original)
    parts = {
        str(task): np.flatnonzero(original["task"] == task) for task in original["task"].unique()
    }
    counts = {task: len(np.unique(asked[here])) for task, here in parts.items()}
    topics = {task: len(np.unique(questions[here])) for task, here in parts.items()}
    retained = [task for task in parts if task != own]
    for numbers in (counts, topics):
        numbers["rest"] = sum(numbers[task] for task in retained)
        numbers["specificity"] = numbers["rest"] + numbers[own]
    rows = []
    for metric, unit in METRICS.items():
        before = metric_values(original, metric)
        control = np.mean([metric_values(frame, metric) for frame in random], axis=0)
        changes = {name: metric_values(frame, metric) - control for name, frame in masked.items()}
        values = np.stack([*changes.values()], axis=1)
        paper = [*changes].index(PAPER)
        means: dict[str, np.ndarray] = {}
        drawn: dict[str, np.ndarray] = {}
        for task, here in parts.items():
            means[task] = values[here].mean(axis=0)
            drawn[task] = resampled_means(
                values[here], questions[here], resamples=RESAMPLES, rng=rng
            )
        for found in (means, drawn):
            found["rest"] = np.mean([found[task] for task in retained], axis=0)
            found["specificity"] = found["rest"] - found[own]
        for what, found in means.items():
            less = drawn[what] - drawn[what][:, [paper]]
            p = np.array(
                [min(1.0, 2 * min(p_value(one >= 0), p_value(one <= 0))) for one in less.T]
            )
            others = [i for i in range(len(changes)) if i != paper]
            p_holm = np.ones(len(changes))
            p_holm[others], _ = verdicts(p[others], np.full(len(others), counts[what]))
            here = parts.get(what)
            for column, name in enumerate(changes):
                low, high = interval(drawn[what][:, column])
                less_low, less_high = interval(less[:, column])
                rows.append(
                    {
                        "metric": unit,
                        "test": what,
                        "method": name,
                        "questions": counts[what],
                        "topics": topics[what],
                        "original": np.nan if here is None else before[here].mean(),
                        "change": found[column],
                        "change_low": low,
                        "change_high": high,
                        "less_paper": found[column] - found[paper],
                        "less_paper_low": less_low,
                        "less_paper_high": less_high,
                        "p": 1.0 if column == paper else p[column],
                        "p_holm": p_holm[column],
                    }
                )
    return pd.DataFrame(rows)


def form_numbers(frame: pd.DataFrame) -> np.ndarray:
    """A number for what each row asks of which country: its question's forms are several."""
    return pd.MultiIndex.from_arrays([frame["task"], frame["question"]]).factorize()[0]


def wider(original: pd.DataFrame, masked: pd.DataFrame) -> dict[str, float]:
    """How many times as wide the interval of a change is when countries' forms of a question are
    drawn together, and not each for itself."""
    found = {}
    for metric, unit in METRICS.items():
        change = metric_values(masked, metric) - metric_values(original, metric)
        widths = []
        for numbers in (question_numbers(original), form_numbers(original)):
            low, high = interval(
                resampled_means(change, numbers, resamples=RESAMPLES, rng=np.random.default_rng(0))
            )
            widths.append(high - low)
        found[unit] = round(widths[0] / widths[1], 2)
    return found


def winners(table: pd.DataFrame, own: str) -> dict[str, list[str]]:
    """The methods that win on `confirm`, by the unit in which they do."""
    part = table[table["half"] == "confirm"].set_index(["metric", "test", "method"])
    part = part.sort_index()
    found: dict[str, list[str]] = {}
    for unit in METRICS.values():
        found[unit] = []
        for name in part.loc[(unit, own)].index:
            more, culture = part.loc[(unit, "specificity", name)], part.loc[(unit, own, name)]
            clear = more["less_paper"] > 0 and more["p_holm"] < SIGNIFICANT
            if clear and culture["less_paper_low"] <= 0:
                found[unit].append(str(name))
    return found


def _wider(run: Run) -> dict[str, float]:
    """`wider` over all test questions of the run's own task, its own set masked."""
    frames = (run.evaluation(name) for name in ("original", GENERAL))
    own = [one[one["task"] == run.study.task].reset_index(drop=True) for one in frames]
    return wider(*own)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--run", type=Path, required=True)
    options.add_argument("--methods", default=",".join(METHODS))
    options.add_argument("--confirm", action="store_true", help="ask the other half too, once")
    options.add_argument("--out", type=Path, default=OUT)
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = Run.open(given.run)
    parts = parts_of(run)
    model = functools.cache(run.load_model)
    material = Material(run, run.folder / "selection", model, parts["keep"])
    names = list(dict.fromkeys([PAPER, *given.methods.split(",")]))
    sets = {name: of_size(METHODS[name](material), material, name) for name in names}
    noted = material.home / "confirmed.json"
    frames = []
    for half in HALVES if given.confirm else HALVES[:1]:
        if half == "confirm":
            for neurons in sets.values():
                confirm_once(noted, neurons)
        original = answers(material, "original", None, half, parts)
        random = [answers(material, r.name, r, half, parts) for r in run.of_kind("matched")]
        masked = {name: answers(material, name, one, half, parts) for name, one in sets.items()}
        table = effects(original, masked, random, own=run.study.task)
        frames.append(table.assign(half=half))
    table = pd.concat(frames, ignore_index=True)
    given.out.mkdir(parents=True, exist_ok=True)
    write_frame(table, given.out / "table.csv")
    confirmed: dict[str, Any] = read_json(noted) if noted.exists() else {}
    about = {
        "model": run.about["model"]["name"],
        "machine": machine(),
        "task": run.study.task,
        "scored": run.about["datasets"]["neuron"]["instances"],
        "random_sets": len(run.of_kind("matched")),
        "neurons": {name: len(neurons) for name, neurons in sets.items()},
        "common": {name: len(neurons & sets[PAPER]) for name, neurons in sets.items()},
        "confirmed": {name: confirmed[name]["at"] for name in sets if name in confirmed},
        "wider by topics": _wider(run),
        "winners": winners(table, run.study.task) if given.confirm else None,
    }
    write_json(given.out / "about.json", about)
    for half in table["half"].unique():
        plot_selection(table, half=half, own=run.study.task, path=given.out / f"{half}.png")
    print(about["neurons"], about["common"], about["winners"])
    few = table[table["test"].isin([run.study.task, "rest", "specificity"])]
    print(few.drop(columns=["original", "p"]).round(3).to_string(index=False))
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
