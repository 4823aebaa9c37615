"""Which way of selecting finds the neurons whose mask costs culture most, and the rest least?

The instances that a run scored are scored again where a method asks for it. Each method ranks all
neurons; those that answer to names are filtered as the run did, and of the highest as many are
taken in each pool as the run's own set has. Masked, each set answers the run's tests, of which
nothing was scored. A method's effect is its change beyond the mean of the run's matched random
sets. Cultural questions are halved by a stable hash of what they ask: `choose` is for making up
methods, `confirm` is looked at for methods that are made up. Goes on where it stopped.

    python benchmarks/selection.py --run runs/study
    python benchmarks/selection.py --run runs/study --methods first_order,gate_exact,contrast

Whoever has another method adds a function to `METHODS`: from `Material` to a rank value a neuron.
"""

import argparse
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import RESULTS, machine

from culnig_tl.analysis.evaluations import metric_values
from culnig_tl.files import write_json
from culnig_tl.frames import write_frame
from culnig_tl.neurons.estimates import Estimate
from culnig_tl.neurons.layout import ATTENTION_SITES, Site
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.selection import rank_values, top_share
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.resampling import RESAMPLES, interval, p_value, question_numbers, resampled_means
from culnig_tl.study.data import SCORED
from culnig_tl.study.once import evaluation_once, scores_once
from culnig_tl.study.run import Run
from culnig_tl.tasks.instances import Instance, stable_random

POOLS: dict[str, tuple[Site, ...]] = {"MLP": ("gate",), "attention": ATTENTION_SITES}
METRICS = {"correct": "points", "nats": "nats"}
HALVES = ("choose", "confirm")
PAPER = "first_order"
WRONG = 2  # wrong answers that are scored, for a contrast
OUT = RESULTS / "selection"


@dataclass(frozen=True)
class Material:
    """What a method may rank by: a run, and scores of its instances that are made when asked for.

    Attributes:
        run: the run.
        home: where new scores are kept.
        model: gives the run's model.
    """

    run: Run
    home: Path
    model: Callable[[], Any]

    def scores(self, part: str = "neuron", estimate: Estimate = "first_order") -> Scores:
        """Of `neuron`, `control`, `countryrc`, or `wrong 1`, ...: other options as answers."""
        study = self.run.study
        if part in SCORED and estimate == study.estimate:
            return self.run.scores(part)
        study = replace(study, estimate=estimate)
        return scores_once(
            self.home / estimate, self.model(), {part: self._instances(part)}, study=study
        )[part]

    def mean(self, part: str = "neuron", estimate: Estimate = "first_order") -> np.ndarray:
        """The mean score of each neuron, as the run's variant and target have it."""
        study = self.run.study
        return self.scores(part, estimate).mean(variant=study.variant, target=study.target)

    def _instances(self, part: str) -> Sequence[Instance]:
        if part in SCORED:
            return self.run.data.scored[part]
        number = int(part.removeprefix("wrong "))
        return [
            replace(one, answer=(one.answer + number) % len(one.options))
            for one in self.run.data.neuron
        ]


def minus_control(material: Material, estimate: Estimate = "first_order") -> np.ndarray:
    """The paper's: the questions' scores minus those of their controls."""
    study = material.run.study
    found = [material.scores(part, estimate) for part in ("neuron", "control")]
    return rank_values(*found, study.variant, target=study.target)


def contrast(material: Material, estimate: Estimate = "first_order") -> np.ndarray:
    """The right answer's scores minus the mean of wrong answers', no other control."""
    wrong = [material.mean(f"wrong {number}", estimate) for number in range(1, WRONG + 1)]
    return material.mean("neuron", estimate) - np.mean(wrong, axis=0)


def stable(material: Material) -> np.ndarray:
    """The paper's, of the half of the questions on which a neuron ranks lower."""
    study, found = material.run.study, [material.scores(p) for p in ("neuron", "control")]
    return np.minimum(
        *(
            rank_values(*(one.half(half) for one in found), study.variant, target=study.target)
            for half in (0, 1)
        )
    )


METHODS: dict[str, Callable[[Material], np.ndarray]] = {
    PAPER: minus_control,
    "gate_exact": functools.partial(minus_control, estimate="gate_exact"),
    "contrast": contrast,
    "contrast_gate_exact": functools.partial(contrast, estimate="gate_exact"),
    "stable": stable,
}


def of_size(rank: np.ndarray, material: Material, name: str) -> NeuronSet:
    """The neurons of the highest rank that do not answer to names, as many as the run's own set.

    For the ranking that the run selected by, that is the run's set again.
    """
    run, like = material.run, material.run.neurons
    names = material.mean("countryrc")
    chosen = []
    for pool, sites in POOLS.items():
        ids = like.layout.ids_of(sites)
        what = f"{pool} by CountryRC"
        kept = np.setdiff1d(ids, top_share(ids, names, run.study.remove, what=what, ties={}))
        count = int(np.isin(like.ids, ids).sum())
        chosen.append(kept[np.argsort(-rank[kept], kind="stable")[:count]])
    return NeuronSet(like.layout, np.concatenate(chosen), name)


def effects(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    random: list[pd.DataFrame],
    *,
    own: str,
    halves: np.ndarray,
) -> pd.DataFrame:
    """Change beyond random of each method and test; and each method less the paper's.

    `halves` are those of each row of the run's own task; other tests are whole in both.
    """
    frames = []
    for half in ("all", *HALVES):
        here = (original["task"] != own).to_numpy() | (half == "all") | (halves == half)
        parts = {name: frame[here].reset_index(drop=True) for name, frame in masked.items()}
        table = _effects(
            original[here].reset_index(drop=True),
            parts,
            [frame[here].reset_index(drop=True) for frame in random],
            own,
        )
        frames.append(table.assign(half=half))
    return pd.concat(frames, ignore_index=True)


def _effects(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    random: list[pd.DataFrame],
    own: str,
) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    questions = pd.Series(question_numbers(original), original.index)
    parts = {task: part.index for task, part in original.groupby("task", sort=False)}
    for metric, unit in METRICS.items():
        before = metric_values(original, metric)
        control = np.mean([metric_values(frame, metric) for frame in random], axis=0)
        changes = {name: metric_values(frame, metric) - control for name, frame in masked.items()}
        values = np.stack([*changes.values()], axis=1)
        drawn, means = {}, {}
        for task, here in parts.items():
            means[task] = values[here].mean(axis=0)
            drawn[task] = resampled_means(
                values[here], questions[here].to_numpy(), resamples=RESAMPLES, rng=rng
            )
        rest = [task for task in parts if task != own]
        # What culture loses more than the rest does; a test counts as one.
        means["specificity"] = np.mean([means[t] for t in rest], axis=0) - means[own]
        drawn["specificity"] = np.mean([drawn[t] for t in rest], axis=0) - drawn[own]
        paper = [*changes].index(PAPER)
        for what, found in means.items():
            for column, name in enumerate(changes):
                less = drawn[what][:, column] - drawn[what][:, paper]
                low, high = interval(drawn[what][:, column])
                less_low, less_high = interval(less)
                here = parts.get(what, original.index)
                rows.append(
                    {
                        "metric": unit,
                        "test": what,
                        "method": name,
                        "questions": questions[here].nunique(),
                        "original": np.nan if what == "specificity" else before[here].mean(),
                        "change": found[column],
                        "change_low": low,
                        "change_high": high,
                        "less_paper": found[column] - found[paper],
                        "less_paper_low": less_low,
                        "less_paper_high": less_high,
                        "p": 1.0
                        if column == paper
                        else min(1.0, 2 * min(p_value(less >= 0), p_value(less <= 0))),
                    }
                )
    return pd.DataFrame(rows)


def half_of(instance: Instance) -> str:
    """All countries' forms of one question are in the same half."""
    return stable_random("selection", instance.topic).choice(HALVES)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--run", type=Path, required=True)
    options.add_argument("--methods", default="first_order,gate_exact")
    options.add_argument("--out", type=Path, default=OUT)
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = Run.open(given.run)
    material = Material(run, run.folder / "selection", functools.cache(run.load_model))
    names = list(dict.fromkeys([PAPER, *given.methods.split(",")]))
    sets = {name: of_size(METHODS[name](material), material, name) for name in names}
    asked = run.data.asked
    masked = {
        name: evaluation_once(
            material.home / f"{name}.csv", material.model, asked, study=run.study, neurons=neurons
        )
        for name, neurons in sets.items()
    }
    random = [run.evaluation(neurons.name) for neurons in run.of_kind("matched")]
    halves = np.array([half_of(instance) for instance in asked])
    table = effects(run.evaluation("original"), masked, random, own=run.study.task, halves=halves)
    given.out.mkdir(parents=True, exist_ok=True)
    write_frame(table, given.out / "table.csv")
    about = {
        "model": run.about["model"]["name"],
        "machine": machine(),
        "scored": run.about["datasets"]["neuron"]["instances"],
        "random_sets": len(random),
        "neurons": {name: len(neurons) for name, neurons in sets.items()},
        "common": {name: len(neurons & sets[PAPER]) for name, neurons in sets.items()},
    }
    write_json(given.out / "about.json", about)
    print(about["neurons"], about["common"])
    print(table.round(3).to_string(index=False))
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
