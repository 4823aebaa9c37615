"""A student's copy of a notebook: the same, but for the solutions; its stubs fail, and say so."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from culnig_tl import activation_shares, exercises
from culnig_tl.analysis.simulation import simulate_study
from culnig_tl.exercises import NotYet

nbformat = pytest.importorskip("nbformat", reason="the extra 'notebook' is not installed")
FOLDER = Path(__file__).parents[2] / "notebooks"
EXERCISES = {
    "00_one_neuron_by_hand": 3,
    "01_from_scores_to_a_set": 1,
    "02_is_the_gradient_right": 2,
    "03_patching": 2,
    "04_how_much_evidence": 2,
    "05_culture_or_language": 1,
    "06_your_model_your_question": 1,
}


def cells(folder, name):
    return nbformat.read(folder / f"{name}.ipynb", as_version=4).cells


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The folder of copies, made by the script that a teacher runs."""
    folder = tmp_path_factory.mktemp("student")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import strip

        strip.main(folder)
    del sys.modules["strip"]
    return folder


@pytest.fixture(scope="module")
def names():
    """What the cells before an exercise have made, on a tiny model."""
    model = tiny.bridge("llama")
    prompt = exercises.prompt_of(model, tiny.instances()[0])
    values = np.random.default_rng(0).normal(size=101)
    return {
        "pair": exercises.pair_of(model, *tiny.of_one_length()),
        "shares": activation_shares(model, tiny.TEXTS, context=8),
        "simulate_study": simulate_study,
        "Path": Path,
        "exercises": exercises,
        "np": np,
        "model": model,
        "prompt": prompt,
        "scores": SimpleNamespace(mean=lambda: values),
        "control": SimpleNamespace(mean=lambda: 0 * values),
    }


def test_every_notebook_with_exercises_has_a_copy(copies):
    assert {path.stem for path in copies.glob("*.ipynb")} == set(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_stubs_fail(copies, names, name):
    stubs = 0
    for cell, solved in zip(cells(copies, name), cells(FOLDER, name), strict=True):
        if "BEGIN SOLUTION" not in solved.source:
            assert cell.source == solved.source
            continue
        stubs += 1
        assert "SOLUTION" not in cell.source
        code = cell.source.replace("(10, ", "(1, ").replace("layer=10", "layer=1")
        with pytest.raises(NotYet, match="write this function"):
            exec(code, dict(names))
    assert stubs == EXERCISES[name]
