"""How long each notebook takes from top to bottom, in minutes, on this machine.

python benchmarks/notebooks.py
"""

import time
from pathlib import Path

import nbformat
from common import RESULTS, machine
from nbclient import NotebookClient

from culnig_tl.files import write_json

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def main() -> None:
    minutes = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        start = time.perf_counter()
        resources = {"metadata": {"path": str(NOTEBOOKS)}}
        NotebookClient(nbformat.read(path, 4), timeout=1200, resources=resources).execute()
        minutes[path.name] = (time.perf_counter() - start) / 60
    write_json(RESULTS / "notebooks.json", {"minutes": minutes, "machine": machine()})


if __name__ == "__main__":
    main()
