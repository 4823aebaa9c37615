"""How soon the commands that need no model answer: processor time of a process of their own.

    python benchmarks/startup.py

User and system time, one thread, after one run as a warm-up; all in turn, the median of each. A
bare Python and `import pandas` stand beside them. `report` is given twice: whole, and until its
first figure is made. Without `--run` a small study of a tiny random model is run first.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import RESULTS, Target, machine
from rich.console import Console
from rich.table import Table

from culnig_tl.files import write_json

TESTS = Path(__file__).resolve().parents[1] / "tests"
PYTHON, PANDAS = "python", "import pandas"
REPORT = "culnig report"
# `report`, which ends with this code where it makes its first figure.
FIRST_FIGURE = 3
UNTIL_FIGURE = f"""
import os
from matplotlib.figure import Figure
from culnig_tl.cli.main import main
Figure.__init__ = lambda *arguments, **named: os._exit({FIRST_FIGURE})
main()
"""
MOST = 1.0


def small_run(folder: Path) -> Path:
    """A finished run of a tiny random model."""
    sys.path.insert(0, str(TESTS))
    import command
    import tiny

    out, model = folder / "run", tiny.byte_model(folder / "tiny")
    given = ["run", "--model", str(model), "--out", str(out), *map(str, command.SMALL_RUN)]
    subprocess.run([sys.executable, "-m", "culnig_tl", *given], check=True, capture_output=True)
    return out


def processor_seconds(arguments: list[str], code: int = 0) -> float:
    """Of a Python process with these arguments, which must end with this code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise SystemExit(f"{arguments}: {done.stderr.decode()}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--run", type=Path, help="a finished run; default: one is made")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--out", type=Path, default=RESULTS / "startup.json")
    given = options.parse_args()
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        run = given.run or small_run(Path(folder))
        scores, neurons = run / "scores/neuron.safetensors", Path(folder) / "neurons.json"
        select = ["select", "--scores", str(scores), "--out", str(neurons)]
        report = ["report", "--run", str(run)]
        culnig = ["-m", "culnig_tl"]
        works = {
            PYTHON: (["-c", "pass"], 0),
            PANDAS: (["-c", PANDAS], 0),
            "import culnig_tl": (["-c", "import culnig_tl"], 0),
            "culnig --help": ([*culnig, "--help"], 0),
            "culnig models": ([*culnig, "models"], 0),
            "culnig select": ([*culnig, *select], 0),
            f"{REPORT}, until its first figure": (["-c", UNTIL_FIGURE, *report], FIRST_FIGURE),
            REPORT: ([*culnig, *report], 0),
        }
        runs: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(given.repeats + 1):
            for name, (arguments, code) in works.items():
                seconds = processor_seconds(arguments, code)
                if turn:
                    runs[name].append(seconds)
    medians = {name: statistics.median(times) for name, times in runs.items()}
    table = Table("processor seconds", "median", "beyond Python", "beyond pandas", "wanted", "met")
    targets = []
    for name, median in medians.items():
        beyond = median - medians[PANDAS]
        row = [name, f"{median:.2f}", f"{median - medians[PYTHON]:.2f}", f"{beyond:.2f}"]
        if name.startswith("culnig") and name != REPORT:
            target = Target(f"{name}, seconds beyond pandas", beyond, MOST, at_least=False)
            targets.append(target.as_dict())
            row += [f"<= {MOST:g}", "yes" if target.met else "no"]
        table.add_row(*row)
    console = Console()
    console.print(table)
    methods = {name: {"seconds": medians[name], "runs": times} for name, times in runs.items()}
    settings = {"repeats": given.repeats, "run": "small" if given.run is None else str(given.run)}
    content = {"benchmark": "startup", "machine": about, "settings": settings}
    write_json(given.out, content | {"methods": methods, "targets": targets})
    console.print(f"written to {given.out}", soft_wrap=True)


if __name__ == "__main__":
    main()
