"""What the paper's six models take: memory, FLOPs, and time on one H100, as `culnig plan` has it.

    python benchmarks/paper_models.py --blend FOLDER

For three studies in bfloat16: the demo, the same on BLEnD, and the paper's own on BLEnD and
CountryRC. Nothing is measured, so the numbers are the same on every machine. Tokens are counted as
four characters each, for every model alike.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from common import RESULTS
from rich.console import Console
from rich.table import Table

from culnig_tl.files import write_json
from culnig_tl.provenance import package_versions
from culnig_tl.study.arguments import PRESETS, Study
from culnig_tl.study.data import study_data
from culnig_tl.study.paper_models import PAPER_MODELS
from culnig_tl.study.plan import H100_FLOPS, about_costs, study_cost, study_work


def studies(blend: Path | None) -> dict[str, tuple[str, Study]]:
    """Each study with the options that ask for it."""
    data = {} if blend is None else {"blend": str(blend)}
    demo = dataclasses.replace(PRESETS["quick"], dtype="bfloat16")
    paper = dataclasses.replace(PRESETS["paper"], tests=("countryrc",), data=data)
    return {
        "demo": ("--dtype bfloat16", demo),
        "blend": (
            "--task blend --dtype bfloat16",
            dataclasses.replace(demo, task="blend", data=data),
        ),
        "paper": ("--preset paper --tests countryrc", paper),
    }


def costs(study: Study) -> dict[str, Any]:
    """Of a study: its work, and what it costs with each model."""
    work = study_work(study, study_data(study), tokenizer=None)
    models = {}
    for name, paper in PAPER_MODELS.items():
        cost = study_cost(name, paper.config(), study, work=work, speeds=None)
        models[name] = {
            "parameters": cost.parameters,
            "weights": 2 * cost.parameters,
            "memory": cost.memory,
            "flops": cost.flops,
            "seconds_h100": cost.seconds_h100,
        }
    return {
        "steps": len(work.steps),
        "tokens": sum(step.tokens for step in work.steps),
        "note": about_costs(study),
        "models": models,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--blend", type=Path, help="BLEnD's folder; default: the Hub")
    arguments.add_argument("--out", type=Path, default=RESULTS / "paper-models.json")
    options = arguments.parse_args()
    found = {
        name: {"options": given, **costs(study)}
        for name, (given, study) in studies(options.blend).items()
    }
    write_json(
        options.out,
        {"versions": package_versions(), "FLOP/s of an H100": H100_FLOPS, "studies": found},
    )
    table = Table("study", "model", "memory, GiB", "PFLOP", "minutes on an H100")
    for name, study in found.items():
        for model, cost in study["models"].items():
            numbers = (cost["memory"] / 2**30, cost["flops"] / 1e15, cost["seconds_h100"] / 60)
            table.add_row(name, model, *(f"{number:,.1f}" for number in numbers))
    Console().print(table)


if __name__ == "__main__":
    main()
