"""Every notebook runs from top to bottom.

The last three are long and show what other tests hold (a study, `compare_methods`, `finetune`):
CI, which has fifteen minutes for all, leaves them to `make test`.
"""

from pathlib import Path

import nbformat
import pytest
import tiny
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SLOW = (
    "04_culture_general_and_specific",
    "05_culture_or_language",
    "06_which_modules_to_train",
)


@tiny.needs_gemma
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning:zmq")
@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in SLOW), id=p.stem) for p in NOTEBOOKS],
)
def test_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert all(cell.get("execution_count") for cell in notebook.cells if cell.cell_type == "code")
