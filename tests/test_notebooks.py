"""Every notebook runs from top to bottom.

As they are written they take minutes: CI, which has fifteen for all, asks the first one fewer
questions, runs the next two as they are, as they assert what they say of the model, and the last
one, which needs none, and leaves the rest to `make test`: they show what other tests hold (a study,
`compare_methods`, `finetune`).
"""

import re
from pathlib import Path

import nbformat
import pytest
import tiny
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CHECKED = ("02_taylor_vs_ablation", "03_activation_patching")
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
@pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem not in CHECKED], ids=lambda path: path.stem
)
def test_notebook_runs(path):
    run(path.name)


@tiny.needs_gemma
def test_the_first_on_few_questions():
    cells = run("01_quickstart.ipynb", lambda code: re.sub(r"limit=\d+", "limit=2", code))
    assert GEMMA in cells[0].source


@tiny.needs_gemma
@pytest.mark.parametrize("name", CHECKED)
def test_claims_are_asserted(name):
    """As it is: its cells assert what its text says, so every second one has an assertion."""
    cells = run(f"{name}.ipynb")
    assert sum("assert " in cell.source for cell in cells) >= len(cells) / 2


@tiny.needs_gemma
def test_the_exercises_are_solved():
    """And the package says so: a check that fails is an error."""
    cells = run("00_one_neuron_by_hand.ipynb")
    said = [str(cell.outputs) for cell in cells if "BEGIN SOLUTION" in cell.source]
    assert len(said) == 3
    assert all("Right: " in one for one in said)


def test_simulated_studies_need_no_model():
    """Fewer of them than the notebook has."""
    run("07_how_sure.ipynb", lambda code: re.sub(r"range\(\d+\)", "range(3)", code))
