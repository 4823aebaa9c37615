"""Starting anew in the folder of a run: what was made there goes, and nothing else."""

import contextlib
import os
from pathlib import Path

from culnig_tl.study.same_study import STEPS

TABLES = (
    *("table", "probability", "groups", "countries", "sets", "matched", "ablations", "parts"),
    *("sweep", "reductions", "reductions_low", "reductions_high", "ranks", "own", "own_nats"),
    *("overlap", "stability", "writes"),
)
_FOLDERS = ("scores", "sets", "evaluations", "figures", *STEPS)
# Of what is written into these folders; a model's own files beside its weights too.
_KINDS = (
    *(".csv", ".json", ".safetensors", ".checkpoint", ".png", ".html", ".parquet"),
    *(".model", ".jinja"),
)


def clear_run(out: Path) -> list[Path]:
    """Delete what a run and the steps on it wrote into `out`; run.json goes last.

    Files of other names or kinds stay, and so do the folders that hold them. Nothing is done in a
    folder without a run.

    Returns:
        What stays.
    """
    if not (out / "run.json").exists():
        return []
    # Without these it is no finished run: one that is stopped here is cleared again.
    for name in ("report.html", *(f"{table}.csv" for table in TABLES)):
        (out / name).unlink(missing_ok=True)
    for folder in _FOLDERS:
        for place, folders, files in os.walk(out / folder, topdown=False):
            for name in files:
                if Path(name).suffix in _KINDS:
                    (Path(place) / name).unlink()
            for one in (*(Path(place) / name for name in folders), Path(place)):
                with contextlib.suppress(OSError):  # it is not empty
                    one.rmdir()
    (out / "run.json").unlink()
    return sorted(path for path in out.rglob("*") if path.is_file())
