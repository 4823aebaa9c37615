"""A run's neurons in other dtypes."""

import io
from contextlib import redirect_stdout

import pandas as pd
import pytest
from command import Captured, byte_run, culnig

from culnig_tl import Scores
from culnig_tl.measure import attribution
from culnig_tl.study.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return byte_run(patch, Captured(), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def measured(run):
    """The run with its neurons in two more dtypes, and what was printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        code, _, _ = culnig(patch, Captured(), *precision(run))
    assert code == 0
    return run, said.getvalue()


def precision(out, dtypes="bfloat16,float16"):
    return ["precision", "--run", out, "--dtypes", dtypes]


def test_neurons_in_other_dtypes_are_nearly_those_of_the_run(measured):
    out, printed = measured
    assert "culture-general" in printed
    table = pd.read_csv(out / "precision" / "table.csv", index_col=["dtype", "set"])
    neurons = len(Run.open(out).neurons)
    for dtype, least in (("bfloat16", 0.7), ("float16", 0.95)):  # 8 and 11 bits of precision
        row = table.loc[(dtype, "culture-general")]
        assert least <= row["overlap"] == row["shared"] / neurons
        assert least < row["spearman_mlp"] < 1
        assert least < row["spearman_attention"] < 1
    assert (table["spearman_mlp"].diff()[1:] > 0).all()  # float16 is nearer


def test_scores_say_their_dtype(measured):
    file = measured[0] / "precision" / "bfloat16" / "scores" / "neuron.safetensors"
    assert Scores.load(file).provenance["model"]["dtype"] == "bfloat16"


def test_what_is_there_is_not_measured_again(monkeypatch, capsys, measured):
    """Not even the model is loaded."""
    out, printed = measured
    monkeypatch.setattr(attribution, "score_batch", None)
    monkeypatch.setattr("culnig_tl.study.precision.load_study_model", None)
    code, again, error = culnig(monkeypatch, capsys, *precision(out))
    assert code == 0, error
    assert again == printed


@pytest.mark.parametrize(
    ("dtypes", "words"),
    [
        pytest.param("float32", "is a run in float32 already: give other dtypes", id="the run's"),
        pytest.param("", "no dtype: give some, as --dtypes bfloat16,float16", id="none"),
        pytest.param("int8", "unknown dtype 'int8'", id="unknown"),
    ],
)
def test_dtypes_that_are_refused(monkeypatch, capsys, run, dtypes, words):
    """Before a model is loaded."""
    monkeypatch.setattr("culnig_tl.study.precision.load_study_model", None)
    code, _, error = culnig(monkeypatch, capsys, *precision(run, dtypes))
    assert code == 1
    assert words in " ".join(error.split())
