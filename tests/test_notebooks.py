"""Every notebook runs from top to bottom, and shows what is stored in it.

As they are written they take minutes, and CI has fifteen for all: those marked `slow` are left to
`make test`, as other tests hold what they show (a study, `compare_groups`, `finetune`).
"""

import json
import math
import re
from pathlib import Path

import nbformat
import pytest
import readme_tables
import tiny
from nbclient import NotebookClient

from notebooks import lasting

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in FOLDER.glob("*.ipynb")}
NAMES = sorted(NOTEBOOKS)
SLOW = ("A_", "B_", "C_")
MOST_KILOBYTES = 400
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:zmq"),
]


def code_cells(name):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]


def shown(cell):
    """The text that a cell shows; of a picture, that there is one."""
    texts = []
    for output in filter(lasting, cell.outputs):
        data = output.get("data", {})
        if output.get("name") == "stdout":
            texts.append(output["text"])
        elif "image/png" in data:
            texts.append("(a picture)")
        elif "text/plain" in data:
            texts.append(data["text/plain"])
    return "\n".join(texts).strip()


def same(one, other):
    """The same words, and numbers that are near: another machine adds up in another order."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (one, other)]
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=False)
    numbers = [[float(number.replace(",", "")) for number in pair] for pair in pairs]
    near = all(math.isclose(a, b, rel_tol=0.05, abs_tol=0.02) for a, b in numbers)
    return words[0] == words[1] and near


def test_same_knows_another_number():
    assert same("P is 0.500, of 1,000\n  rows", "P is 0.501, of 1,001 rows")
    assert not same("P is 0.5", "P is 0.6")
    assert not same("P is 0.5", "Q is 0.5")
    assert not same("P is 0.5", "P is 0.5 or 1")


@tiny.needs_gemma
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * name.startswith(SLOW)) for name in NAMES],
)
def test_notebook_shows_what_is_stored(monkeypatch, name):
    """Its own cells assert what its text says; here its outputs are held against the stored."""
    monkeypatch.delenv("MPLBACKEND", raising=False)  # pictures come out as in a browser
    notebook = nbformat.from_dict(json.loads(json.dumps(NOTEBOOKS[name])))
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=str(FOLDER))
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, stored in zip(ran, code_cells(name), strict=True):
        assert same(shown(cell), shown(stored)), f"{cell.source}\n{shown(cell)}\n{shown(stored)}"


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stored(name):
    cells = code_cells(name)
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not [output for output in outputs if output.output_type == "error"]
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text) < 1000 * MOST_KILOBYTES
    assert not re.search(r"/(root|home|tmp|work|Users)/", text)
    assert "stderr" not in text


@pytest.mark.parametrize("name", NAMES)
def test_form(name):
    """Minutes, difficulty, what it is about, a prediction, a folded answer, assertions."""
    notebook = NOTEBOOKS[name]
    head, setup = notebook.cells[0].source, code_cells(name)[0].source
    said = " ".join(head.split("\n\n")[1].split())
    minutes = re.match(r"\*Runs in (\d) minutes?\b.* Difficulty: (easy|middle|hard)\. ", said)
    assert minutes
    assert int(minutes[1]) == readme_tables.notebook_minutes(name)
    assert "**The question" in head
    assert setup == code_cells("00_one_neuron_by_hand")[0].source
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "**Predict first" in text
    assert text.count("<details>") == text.count("</details>") >= 1
    assert sum("assert " in cell.source for cell in code_cells(name)) >= 3


def test_none_takes_over_three_minutes():
    assert set(readme_tables.notebook_seconds()) == set(NAMES)
    assert max(readme_tables.notebook_seconds().values()) <= 180
    assert readme_tables.notebook_seconds()["00_one_neuron_by_hand"] < 60


def test_the_setup_cell_installs_where_the_package_is_missing(monkeypatch):
    """As in Colab."""
    import importlib.util

    from IPython.core.interactiveshell import InteractiveShell

    asked = []
    shell = InteractiveShell()
    shell.register_magic_function(asked.append, magic_name="pip")
    source = code_cells("00_one_neuron_by_hand")[0].source
    shell.run_cell(source).raise_error()
    assert asked == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    shell.run_cell(source).raise_error()
    assert asked == ['install --quiet "culnig-tl[demo,lora]"']


@tiny.needs_gemma
def test_the_exercises_are_solved():
    for name in NAMES:
        for cell in code_cells(name):
            if "BEGIN SOLUTION" in cell.source:
                assert "Right: " in shown(cell)
