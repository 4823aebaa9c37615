"""Every notebook from top to bottom, as a class sees it: its outputs and its seconds are kept.

    python benchmarks/notebooks.py            # all of them
    python benchmarks/notebooks.py 02_ 03_    # those whose names begin so

The seconds are of the whole, the model's loading among them. Nothing else should run beside it.
"""

import argparse
import base64
import math
import re
import time
from pathlib import Path

import nbformat
from common import RESULTS, machine
from nbclient import NotebookClient

from culnig_tl.analysis.drawing import with_fewer_colours
from culnig_tl.files import read_json, write_json

FOLDER = Path(__file__).parents[1] / "notebooks"
FILE = RESULTS / "notebooks.json"


def lasting(output: dict) -> bool:
    """Whether a reader wants to see it: no progress bar, and nothing empty."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    bar = "application/vnd.jupyter.widget-view+json" in data
    return output.get("name") != "stderr" and not bar and any(data.values())


def smaller(picture: str) -> str:
    """A picture with fewer colours, both in base 64."""
    return base64.b64encode(with_fewer_colours(base64.b64decode(picture))).decode()


def runs_in(seconds: float) -> str:
    """What a notebook's first cell says."""
    minutes = math.ceil(seconds / 60)
    return f"Runs in {minutes} minute{'s' if minutes > 1 else ''}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("names", nargs="*", default=[""])
    names = tuple(options.parse_args().names)
    seconds = read_json(FILE)["seconds"] if FILE.exists() else {}
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not path.name.startswith(names):
            continue
        notebook = nbformat.read(path, as_version=4)
        start = time.perf_counter()
        client = NotebookClient(notebook, timeout=900, kernel_name="python3", record_timing=False)
        client.execute(cwd=str(FOLDER))
        seconds[path.stem] = round(time.perf_counter() - start, 1)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if lasting(output)]
                for output in cell.outputs:
                    if "image/png" in output.get("data", {}):
                        output.data["image/png"] = smaller(output.data["image/png"])
        notebook.metadata.pop("widgets", None)
        head = notebook.cells[0]
        head.source = re.sub(r"Runs in \w+ minutes?", runs_in(seconds[path.stem]), head.source)
        nbformat.write(notebook, path)
        kilobytes = path.stat().st_size / 1000
        print(f"{path.stem}: {seconds[path.stem]:.0f} s, {kilobytes:.0f} kB", flush=True)
        stems = {one.stem for one in FOLDER.glob("*.ipynb")}
        kept = {name: seconds[name] for name in sorted(seconds) if name in stems}
        write_json(FILE, {"machine": machine(), "seconds": kept})


if __name__ == "__main__":
    main()
