"""Which estimate finds the neurons whose mask costs culture most, and the rest least?

The instances that a run scored are scored again with each estimate. Each selects as the run did,
with the same filter of names, and the same number of neurons in each pool as the run's own set.
Masked, each answers the run's tests, of which none was scored. A method's effect is its change
beyond the mean of the run's matched random sets. Goes on where it stopped.

    python benchmarks/selection.py --run runs/study
"""

import argparse
import functools
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS, machine

from culnig_tl.analysis.evaluations import metric_values
from culnig_tl.files import write_json
from culnig_tl.frames import write_frame
from culnig_tl.neurons.estimates import ESTIMATES
from culnig_tl.neurons.layout import ATTENTION_SITES, Site
from culnig_tl.neurons.scores import Scores
from culnig_tl.neurons.selection import rank_values, top_share
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.resampling import RESAMPLES, interval, p_value, question_numbers, resampled_means
from culnig_tl.study.arguments import Study
from culnig_tl.study.data import SCORED
from culnig_tl.study.once import evaluation_once, scores_once
from culnig_tl.study.run import Run

POOLS: dict[str, tuple[Site, ...]] = {"MLP": ("gate",), "attention": ATTENTION_SITES}
METRICS = {"correct": "points", "nats": "nats"}
PAPER = "first_order"
OUT = RESULTS / "selection"


def of_size(scores: Mapping[str, Scores], like: NeuronSet, study: Study, name: str) -> NeuronSet:
    """The neurons of the highest rank that do not answer to names, in each pool as many as `like`.

    For the scores that `like` was selected from that is `like` again.
    """
    layout = like.layout
    rank = rank_values(scores["neuron"], scores["control"], study.variant, target=study.target)
    names = scores["countryrc"].mean(variant=study.variant, target=study.target)
    chosen = []
    for pool, sites in POOLS.items():
        ids = layout.ids_of(sites)
        filtered = top_share(ids, names, study.remove, what=f"{pool} by CountryRC", ties={})
        kept = np.setdiff1d(ids, filtered)
        count = int(np.isin(like.ids, ids).sum())
        chosen.append(kept[np.argsort(-rank[kept], kind="stable")[:count]])
    return NeuronSet(layout, np.concatenate(chosen), name)


def effects(
    original: pd.DataFrame,
    masked: Mapping[str, pd.DataFrame],
    random: list[pd.DataFrame],
    own: str,
) -> pd.DataFrame:
    """Change beyond random of each method and test; and each method less the paper's."""
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
                (low, high), (less_low, less_high) = (
                    interval(drawn[what][:, column]),
                    interval(less),
                )
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


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--run", type=Path, required=True)
    options.add_argument("--out", type=Path, default=OUT)
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = Run.open(given.run)
    study, home = run.study, run.folder / "selection"
    model = functools.cache(run.load_model)
    sets = {}
    for estimate in ESTIMATES:
        scores = (
            {name: run.scores(name) for name in SCORED}
            if estimate == study.estimate
            else scores_once(
                home / estimate, model(), run.data.scored, study=replace(study, estimate=estimate)
            )
        )
        sets[estimate] = of_size(scores, run.neurons, study, estimate)
    masked = {
        name: evaluation_once(
            home / f"{name}.csv", model, run.data.asked, study=study, neurons=neurons
        )
        for name, neurons in sets.items()
    }
    random = [run.evaluation(neurons.name) for neurons in run.of_kind("matched")]
    table = effects(run.evaluation("original"), masked, random, study.task)
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
