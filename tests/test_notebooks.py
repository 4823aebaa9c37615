"""Every notebook runs from top to bottom.

As they are written they take minutes: CI, which has fifteen for all, asks the first one fewer
questions, gives the next two a tiny model, runs the last one, which needs none, and leaves the rest
to `make test`: they show what other tests hold (a study, `compare_methods`, `finetune`).
"""

import re
from pathlib import Path

import nbformat
import pytest
import tiny
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
GEMMA = 'load_model("gemma-3-270m")'

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:zmq"),
]


def run(name, change=lambda code: code):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.source = change(cell.source)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert all(cell.get("execution_count") for cell in cells)
    return cells


@pytest.mark.slow
@tiny.needs_gemma
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path):
    run(path.name)


@tiny.needs_gemma
def test_the_first_on_few_questions():
    cells = run("01_quickstart.ipynb", lambda code: re.sub(r"limit=\d+", "limit=2", code))
    assert GEMMA in cells[0].source


@pytest.mark.parametrize("name", ["02_taylor_vs_ablation", "03_activation_patching"])
def test_with_a_tiny_model(tmp_path, name):
    """Wide enough that 1% of its neurons are the twelve that are looked at."""
    folder = tiny.byte_model(tmp_path / "tiny", intermediate_size=512)
    cells = run(f"{name}.ipynb", lambda code: code.replace(GEMMA, f'load_model("{folder}")'))
    assert str(folder) in cells[0].source


def test_simulated_studies_need_no_model():
    """Fewer of them than the notebook has."""
    run("07_how_sure.ipynb", lambda code: re.sub(r"range\(\d+\)", "range(3)", code))
