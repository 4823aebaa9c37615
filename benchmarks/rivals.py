"""The sets of the rival methods, as `culnig compare-methods` saved them, on the questions of a run.

Counting activation shares takes an hour and does not depend on which questions a run asks; masking
the sets does. This masks sets that are there, and as many random neurons of the same sites and
layers, as the run masked its own.

    python benchmarks/rivals.py --run runs/study --sets culnig_tl/study/data/stored/methods
"""

import argparse
from pathlib import Path

import pandas as pd

from culnig_tl.analysis.comparison import compare, corrected
from culnig_tl.frames import write_frame
from culnig_tl.neurons.selection import overlap, select_random
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study.once import evaluation_once
from culnig_tl.study.run import Run
from culnig_tl.study.stored import stored_study

METHODS = ("LAPE", "CAPE")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--run", type=Path, required=True)
    options.add_argument("--sets", type=Path, default=stored_study() / "methods")
    given = options.parse_args()
    run = Run.open(given.run)
    model = None

    def load():
        nonlocal model
        model = model or run.load_model()
        return model

    tables = {}
    sets = [run.neurons, *(NeuronSet.load(given.sets / f"{m}.json") for m in METHODS)]
    write_frame(overlap(sets), given.sets / "overlap.csv", index=True)
    for neurons in sets:
        own = neurons is run.neurons
        home = run.folder / "evaluations" if own else given.run / "rivals" / neurons.name
        masked, control = (
            evaluation_once(
                home / f"{one.name}.csv", load, run.data.asked, study=run.study, neurons=one
            )
            for one in (neurons, select_random(neurons, 0, matched=True))
        )
        tables[neurons.name] = compare(run.evaluation("original"), masked, [control])
    table = corrected(pd.concat(tables, names=["set"]))
    write_frame(table, given.sets / "table.csv", index=True)
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
