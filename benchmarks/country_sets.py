"""Does a country's own set of neurons hit its own questions more than others do?

The run's own sets (the paper's) are held against sets of the same size by the contrast of all
options at each position, as wrong options are other countries' answers. Each set is
masked, and answers the questions of all of these countries. Some countries' questions tip over
more easily, whatever is masked: what a set as strong takes from questions as easy is removed
(`own_ranks`). Questions are halved as in `selection.py`; nothing was chosen on either half.

    python benchmarks/country_sets.py --run runs/study
"""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

import argparse
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from common import RESULTS, machine
from selecting import PAPER, Material, contrast_by_group
from selection import HALVES, METRICS, form_numbers, half_of, hash_of

from culnig_tl.analysis.evaluations import metric_values
from culnig_tl.analysis.groups import compare_groups, group_intervals, own_ranks
from culnig_tl.files import write_json
from culnig_tl.frames import write_frame
from culnig_tl.neurons.selection import rank_values, top_share
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.resampling import (
    RESAMPLES,
    interval,
    p_value,
    question_numbers,
    smallest_loss,
)
from culnig_tl.study.data import passage_groups
from culnig_tl.study.once import evaluation_once
from culnig_tl.study.run import Run

METHODS = (PAPER, "contrast")
OUT = RESULTS / "country-sets"


def ranks_of(material: Material, method: str) -> dict[str, np.ndarray]:
    """The rank values of all neurons for each country of the run's scores."""
    study, scores = material.run.study, material.scores()
    if method == "contrast":
        means = contrast_by_group(material) / np.array(scores.instances)[:, None]
        return dict(zip(scores.groups, means, strict=True))
    control = material.scores("control")
    return {
        where: rank_values(scores, control, study.variant, groups=[where], target=study.target)
        for where in scores.groups
    }


def sets_of(material: Material, method: str) -> dict[str, NeuronSet]:
    """As many neurons of the highest rank for each country as the run's own set has, without those
    that answer to its name, and whose rank is high for this country (z over countries)."""
    run, ranks = material.run, ranks_of(material, method)
    study, every = run.study, np.stack([*ranks.values()])
    deviation = every.std(axis=0)
    found = {}
    for where, like in run.specific.items():
        of_names = material.scores("names").mean(
            variant=study.variant, groups=[where], target=study.target
        )
        ids = np.arange(like.layout.total)
        names = top_share(ids, of_names, study.remove, what=f"names of {where}", ties={})
        centred = ranks[where] - every.mean(axis=0)
        z = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
        left = np.setdiff1d(ids[z >= study.least_z], names)
        chosen = left[np.argsort(-ranks[where][left], kind="stable")[: len(like)]]
        found[where] = NeuronSet(like.layout, chosen, f"{method} {where}")
    return found


def corrected(
    original: pd.DataFrame, masked: Mapping[str, pd.DataFrame], metric: str, *, seed: int = 0
) -> tuple[float, np.ndarray]:
    """The mean over the sets of the own reduction beyond what a set as strong takes from questions
    as easy to tip over (`own_ranks`); and the same in resamples of what is asked."""
    rng = np.random.default_rng(seed)
    before = metric_values(original, metric)
    losses = np.stack([before - metric_values(one, metric) for one in masked.values()], axis=1)
    topics = question_numbers(original)
    count = int(topics.max()) + 1
    # What is asked is drawn, with all countries' forms of it.
    draws = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    draws = np.vstack([np.ones(count, dtype=int), draws])
    means = []
    for where in masked:
        here = np.flatnonzero(original["group"] == where)
        weights = draws[:, topics[here]]
        means.append(weights @ losses[here] / weights.sum(axis=1, keepdims=True))
    found = _own(np.stack(means, axis=2))
    return float(found[0]), found[1:]


def _own(matrix: np.ndarray) -> np.ndarray:
    """Of [resample, set, country]: the diagonal's mean beyond rows times columns."""
    rows, columns = (matrix.mean(axis=axis, keepdims=True) for axis in (2, 1))
    left = matrix - rows * columns / matrix.mean(axis=(1, 2), keepdims=True)
    return np.diagonal(left, axis1=1, axis2=2).mean(axis=1)


def tables(
    original: pd.DataFrame, masked: Mapping[str, Mapping[str, pd.DataFrame]], halves: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """By method, half and metric: each country's row of `own_ranks`; and the means of all."""
    rows, means = [], []
    for half in ("all", *HALVES):
        here = (halves == half) | (half == "all")
        before = original[here].reset_index(drop=True)
        for metric, unit in METRICS.items():
            of_paper: np.ndarray | None = None
            for method, frames in masked.items():
                after = {c: frame[here].reset_index(drop=True) for c, frame in frames.items()}
                own = own_ranks(before, after, metric=metric)
                reductions = compare_groups(before, after, metric=metric)
                low, high = group_intervals(before, after, metric=metric)
                own["reduction_low"] = [low.loc[c, c] for c in own.index]
                own["reduction_high"] = [high.loc[c, c] for c in own.index]
                rows.append(own.reset_index().assign(method=method, half=half, metric=unit))
                value, drawn = corrected(before, after, metric)
                of_paper = drawn if of_paper is None else of_paper
                (low, high), less = interval(drawn), interval(drawn - of_paper)
                means.append(
                    {
                        "method": method,
                        "half": half,
                        "metric": unit,
                        "questions": len(np.unique(form_numbers(before))),
                        "own": np.diagonal(reductions[list(frames)]).mean(),
                        "all": reductions.to_numpy().mean(),
                        "corrected": value,
                        "corrected_low": low,
                        "corrected_high": high,
                        "p": p_value(drawn <= 0),
                        "less_paper_low": less[0],
                        "less_paper_high": less[1],
                        "first": int((own["corrected_rank"] == 1).sum()),
                        "rank": own["corrected_rank"].mean(),
                        "significant": int((own["p_corrected"] < 0.05).sum()),
                    }
                )
    return pd.concat(rows, ignore_index=True), pd.DataFrame(means)


def plot(table: pd.DataFrame, path: Path, half: str = "confirm") -> None:
    """Own reduction of each country, corrected, with 95% intervals: points and nats."""
    figure, panels = plt.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    for axes, unit in zip(panels, METRICS.values(), strict=True):
        for shift, method in enumerate(METHODS):
            here = (table["half"] == half) & (table["metric"] == unit)
            part = table[here & (table["method"] == method)].reset_index(drop=True)
            axes.errorbar(
                part.index + 0.2 * (shift - 0.5),
                part["corrected"],
                yerr=[
                    part["corrected"] - part["corrected_low"],
                    part["corrected_high"] - part["corrected"],
                ],
                fmt="o",
                markersize=4,
                linewidth=0.9,
                label=method.replace("_", " "),
            )
            axes.set_xticks(part.index, list(part["neurons"]), rotation=45, ha="right")
        axes.axhline(0, color="#999999", linewidth=0.8, zorder=0)
        axes.set(ylabel=f"own loss beyond row and column, {unit}", title=f"in {unit}")
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=2, loc="outside lower center")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def answers(
    material: Material, method: str, sets: Mapping[str, NeuronSet], asked: Sequence
) -> dict[str, pd.DataFrame]:
    """The questions with each set masked; the run's own sets were evaluated by the run."""
    run, found = material.run, {}
    for where, neurons in sets.items():
        if method == PAPER:
            frame = run.evaluation(where).set_index(["task", "id", "template"], drop=False)
            frame = frame.loc[[(one.task, one.id, one.template) for one in asked]]
            found[where] = frame.reset_index(drop=True)
        else:
            name = f"{neurons.name}-{hash_of(neurons)[:8]}.csv"
            file = material.home / "groups" / name
            found[where] = evaluation_once(
                file, material.model, asked, study=run.study, neurons=neurons
            )
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--run", type=Path, required=True)
    options.add_argument("--out", type=Path, default=OUT)
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run = Run.open(given.run)
    study, countries = run.study, passage_groups(run.study)
    asked = [one for one in run.own_data.tests[study.task] if one.group in countries]
    material = Material(run, run.folder / "selection", functools.cache(run.load_model), {})
    sets = {method: sets_of(material, method) for method in METHODS}
    for where, like in run.specific.items():
        assert (sets[PAPER][where].ids == like.ids).all(), where
    original = run.evaluation("original").set_index(["task", "id", "template"], drop=False)
    original = original.loc[[(one.task, one.id, one.template) for one in asked]]
    masked = {method: answers(material, method, sets[method], asked) for method in METHODS}
    halves = np.array([half_of(one) for one in asked])
    table, means = tables(original.reset_index(drop=True), masked, halves)
    given.out.mkdir(parents=True, exist_ok=True)
    write_frame(table, given.out / "table.csv")
    write_frame(means, given.out / "means.csv")
    plot(table, given.out / "confirm.png")
    counts = means.groupby("half")["questions"].first().to_dict()
    per_country = {half: count // len(countries) for half, count in counts.items()}
    about = {
        "model": run.about["model"]["name"],
        "machine": machine(),
        "questions a country": per_country,
        "smallest loss found in four of five studies, points": {
            half: round(100 * smallest_loss(count), 1) for half, count in per_country.items()
        },
        "neurons": {where: len(neurons) for where, neurons in sets[PAPER].items()},
        "common": {
            method: {where: len(found[where] & sets[PAPER][where]) for where in found}
            for method, found in sets.items()
        },
    }
    write_json(given.out / "about.json", about)
    print(means.round(3).to_string(index=False))
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
