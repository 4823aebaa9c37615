"""What the tests of evidence do where the truth is known: false positives, power, few questions.

    python benchmarks/evidence.py

    python benchmarks/evidence.py --run runs/study

- Null studies: masking does what random neurons do. Five identical instances of each question, as
  BLEnD's in the cloze format; resampled are the questions, or the instances, as the paper does.
- Few questions: how often a true null is rejected, by the number of questions.
- Power: studies with a loss of 5 points, on as many questions as `questions_for` asks for.
- With `--run`: the deviation and the correlation that `questions_for` takes, from a run's
  evaluations.

Needs no model; seven minutes.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS

from culnig_tl.analysis.evaluations import metric_values
from culnig_tl.analysis.simulation import rejections, simulate_study
from culnig_tl.files import read_json, write_json
from culnig_tl.resampling import UNITS, question_numbers, questions_for

METRICS = ("correct", "nats")
STUDIES = 200
COPIES = 5
LOSS = 0.05
FEW = (5, 10, 15, 20, 30, 50, 100)


def deviation(original, masked, random) -> float:
    """Of masked minus the mean of the random sets: the deviation over questions about a group."""
    return float(_changes(original, masked, random).std() / 100)


def correlation(original, masked, random) -> float:
    """Of the same, between two groups of one question: what the variance of the mean has beyond
    that of independent ones, over what it would have if all forms of a question were one."""
    change = _changes(original, masked, random)
    questions = question_numbers(original.loc[change.index])
    left = change - change.mean()
    effect = (np.bincount(questions, left) ** 2).sum() / (left**2).sum()
    each = (np.bincount(questions) ** 2).sum() / len(change)
    return float((effect - 1) / (each - 1))


def _changes(original, masked, random) -> pd.Series:
    """Of each question about a group, its first row standing for it."""
    change = metric_values(masked, "correct") - np.mean(
        [metric_values(frame, "correct") for frame in random], axis=0
    )
    forms = original.groupby(["task", "question"], sort=False)
    first = original.index[forms.cumcount() == 0]
    return pd.Series(pd.Series(change).groupby(forms.ngroup().to_numpy()).mean().to_numpy(), first)


def measured(folder: Path) -> dict:
    """The deviation on a run's own task."""
    from culnig_tl import Run

    run = Run.open(folder)
    frames = run.evaluations
    own = frames["original"]["task"] == run.study.task
    names = [neurons.name for neurons in (run.neurons, *run.random())]
    masked, *random = (frames[name][own].reset_index(drop=True) for name in names)
    original = frames["original"][own].reset_index(drop=True)
    return {
        "model": run.about["model"]["name"],
        "task": run.study.task,
        "questions": len(np.unique(question_numbers(original))),
        "questions about a country": int(original["question"].nunique()),
        "deviation": deviation(original, masked, random),
        "correlation": correlation(original, masked, random),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--run", type=Path, help="a finished run")
    options.add_argument("--out", type=Path, default=RESULTS / "evidence.json")
    given = options.parse_args()
    found = read_json(given.out) if given.out.exists() else {}
    if given.run:
        found["deviation"] = measured(given.run)
        write_json(given.out, found)
        print(found["deviation"])
        return
    seeds = range(STUDIES)
    found["null"] = [
        {
            "metric": metric,
            "resampled": unit,
            "studies": STUDIES,
            "questions": 200,
            "instances of each": COPIES,
            "rejected": rejections(seeds, metric=metric, unit=unit, instances=COPIES),
        }
        for metric in METRICS
        for unit in UNITS
    ]
    found["few"] = [
        {
            "metric": metric,
            "questions": questions,
            "studies": 3 * STUDIES,
            "rejected": rejections(range(3 * STUDIES), metric=metric, questions=questions),
        }
        for metric in METRICS
        for questions in FEW
    ]
    spread = float(np.mean([deviation(*simulate_study(loss=LOSS, seed=s)) for s in range(50)]))
    needed = questions_for(LOSS, deviation=spread)
    found["power"] = {
        "loss": LOSS,
        "deviation": spread,
        "questions": needed,
        "studies": STUDIES,
        "found": rejections(seeds, metric="correct", questions=needed, loss=LOSS),
    }
    write_json(given.out, found)
    for part in (*found["null"], *found["few"], found["power"]):
        print(part)


if __name__ == "__main__":
    main()
