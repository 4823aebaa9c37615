"""What the demo finds, and where its time goes.

    python benchmarks/demo.py

Runs `culnig run` of the demo under cProfile in a folder of its own, and keeps the table and the
shares of the time, each with everything that it calls.
"""

import argparse
import cProfile
import pstats
import tempfile
from pathlib import Path

from common import RESULTS, machine

from culnig_tl import Run, run_study
from culnig_tl.files import write_json
from culnig_tl.study.arguments import Study

# By file and function; "~" are functions of C.
PARTS = {
    "evaluation": ("measure/evaluation.py", "evaluate"),
    "attribution": ("measure/attribution.py", "attribute"),
    "loading the model": ("models/loading.py", "load_model"),
    "report": ("study/report.py", "write_report"),
    "matrix products forward": ("~", "<built-in method torch._C._nn.linear>"),
    "backward passes": ("~", "<method 'run_backward' of 'torch._C._EngineBase' objects>"),
    "unembedding in evaluations": ("models/forward.py", "unembed"),
}


def shares(stats: pstats.Stats) -> dict[str, float]:
    """The share of the whole time of each part."""
    found = {}
    for part, (file, function) in PARTS.items():
        times = [
            cumulative
            for (path, _, name), (*_, cumulative, _) in stats.stats.items()  # type: ignore[attr-defined]
            if path.endswith(file) and name == function
        ]
        found[part] = max(times) / stats.total_tt  # type: ignore[attr-defined]
    return found


def summary(run: Run, stats: pstats.Stats) -> dict:
    return {
        "machine": machine(),
        "neurons": len(run.neurons),
        "table": run.table.reset_index().to_dict("records"),
        "shares of the time": shares(stats),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--out", type=Path, default=RESULTS / "demo.json")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, cProfile.Profile() as profile:
        run = run_study(Study(), Path(folder) / "demo")
        profile.disable()
        found = summary(run, pstats.Stats(profile))
    write_json(given.out, found)
    for part, share in found["shares of the time"].items():
        print(f"{100 * share:5.1f}%  {part}")
    print(run.table.round(3).to_string())


if __name__ == "__main__":
    main()
