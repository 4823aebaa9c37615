"""Which target makes a country's own neurons hit that country first?

For each target of the scores of a run (`culnig run`, which must have come as far as its scores)
the culture-specific sets of the focus countries are selected and masked, one by one, and the test
questions of all focus countries are asked. Questions are halved by a stable hash: the
target is chosen on one half (`--half choose`) and confirmed on the other. Goes on where it stopped.

    python benchmarks/targets.py --run runs/study --half choose
"""

import argparse
from pathlib import Path

import pandas as pd
from common import RESULTS

from culnig_tl.analysis.groups import own_ranks
from culnig_tl.neurons.scores import TARGETS
from culnig_tl.neurons.selection import select_specific
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.data import SCORED, cultural_instances
from culnig_tl.study.once import evaluation_once
from culnig_tl.study.run import Run
from culnig_tl.tasks.countries import FOCUS_COUNTRIES
from culnig_tl.tasks.instances import Instance, stable_random

HALVES = ("choose", "confirm")
METRICS = ("correct", "nats")


def half_of(instance: Instance) -> str:
    """In which half a question is: all countries' forms of one question are in the same."""
    return stable_random("half", instance.asks).choice(HALVES)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--run", type=Path, required=True)
    options.add_argument("--limit", type=int, default=0, help="test questions at most; 0: all")
    options.add_argument("--half", choices=HALVES, required=True)
    arguments = options.parse_args()
    folder = arguments.run / "targets" / arguments.half
    run = Run.open(arguments.run)
    study, scores = run.study, {name: run.scores(name) for name in SCORED}
    asked = [
        instance
        for instance in cultural_instances(study, FOCUS_COUNTRIES, arguments.limit)
        if half_of(instance) == arguments.half
    ]
    model = run.load_model()

    def evaluated(name: str, neurons: NeuronSet | None = None) -> pd.DataFrame:
        file = folder / f"{name}.csv"
        return evaluation_once(file, lambda: model, asked, study=study, neurons=neurons)

    original = evaluated("original")
    rows = []
    for target in TARGETS:
        sets = {
            country: select_specific(
                scores["neuron"],
                scores["control"],
                scores["names"],
                group=country,
                variant=study.variant,
                top=study.top,
                remove=study.remove,
                least_z=study.least_z,
                target=target,
            )
            for country in FOCUS_COUNTRIES
        }
        masked = {
            country: evaluated(f"{target}-{country}", neurons) for country, neurons in sets.items()
        }
        for metric in METRICS:
            table = own_ranks(original, masked, metric=metric).reset_index()
            table["size"] = table["neurons"].map({c: len(sets[c]) for c in sets})
            rows.append(table.assign(target=target, half=arguments.half, metric=metric))
    result = pd.concat(rows, ignore_index=True)
    out = RESULTS / f"targets-{arguments.half}.csv"
    result.to_csv(out, index=False, float_format="%.3f")
    summary = result.groupby(["metric", "target"], sort=False).agg(
        questions=("questions", "mean"),
        neurons=("size", "mean"),
        own=("reduction", "mean"),
        others=("others", "mean"),
        significant=("significant", "sum"),
        rank=("rank", "mean"),
        first=("rank", lambda ranks: int((ranks == 1).sum())),
    )
    print(summary.round(2).to_string())
    print(f"written to {out}")


if __name__ == "__main__":
    main()
