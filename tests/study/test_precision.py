"""A run's neurons in other dtypes."""

import pandas as pd
from command import byte_run, culnig

from culnig_tl import Scores
from culnig_tl.measure import attribution
from culnig_tl.study.run import Run


def test_precision_of_a_run(monkeypatch, capsys, tmp_path):
    out = byte_run(monkeypatch, capsys, tmp_path)
    command = ["precision", "--run", out, "--dtypes", "bfloat16,float16"]
    code, printed, error = culnig(monkeypatch, capsys, *command)
    assert code == 0, error
    assert "culture-general" in printed
    table = pd.read_csv(out / "precision" / "table.csv", index_col=["dtype", "set"])
    neurons = len(Run.open(out).neurons)
    for dtype, least in (("bfloat16", 0.7), ("float16", 0.95)):  # 8 and 11 bits of precision
        row = table.loc[(dtype, "culture-general")]
        assert least <= row["overlap"] == row["shared"] / neurons
        assert least < row["spearman_mlp"] < 1
        assert least < row["spearman_attention"] < 1
    assert (table["spearman_mlp"].diff()[1:] > 0).all()  # float16 is nearer
    scores = Scores.load(out / "precision" / "bfloat16" / "scores" / "neuron.safetensors")
    assert scores.provenance["model"]["dtype"] == "bfloat16"
    # What is there is not done again, not even the model is loaded.
    monkeypatch.setattr(attribution, "score_batch", None)
    monkeypatch.setattr("culnig_tl.study.precision.load_study_model", None)
    code, again, error = culnig(monkeypatch, capsys, *command)
    assert code == 0, error
    assert again == printed
    for dtypes, words in (
        ("float32", "is a run in float32 already: give other dtypes"),
        ("", "no dtype: give some, as --dtypes bfloat16,float16"),
    ):
        code, _, error = culnig(monkeypatch, capsys, *command[:-1], dtypes)
        assert code == 1
        assert words in " ".join(error.split())
    monkeypatch.undo()
    code, _, error = culnig(monkeypatch, capsys, *command[:-1], "int8")
    assert code == 1
    assert "unknown dtype 'int8'" in error
