"""Starting anew in the folder of a run: what is ours goes, what is not stays."""

import dataclasses
import logging
from pathlib import Path

import pytest
import tiny

from culnig_tl.errors import CulnigError
from culnig_tl.study.anew import TABLES, clear_run
from culnig_tl.study.neuron_pages import neurons_run
from culnig_tl.study.running import run_study


@pytest.fixture
def study(tmp_path):
    return tiny.study(tmp_path / "tiny", limit=4)


def test_another_study_takes_the_folder(study, tmp_path, caplog):
    out = tmp_path / "run"
    run = run_study(study, out)
    neurons_run(run, prompts=1)
    for name in ("notes.txt", "scores/mine.md", "thesis.csv"):
        (out / name).write_text("mine")
    other = dataclasses.replace(study, limit=6)
    with pytest.raises(CulnigError, match="or start anew in it with --force"):
        run_study(other, out)
    with caplog.at_level(logging.WARNING):
        again = run_study(other, out, anew=True)
    assert "files that no run wrote stay, such as notes.txt" in caplog.text
    assert again.about["datasets"]["neuron"]["instances"] == 6
    assert not (out / "neurons").exists()
    for name in ("notes.txt", "scores/mine.md", "thesis.csv"):
        assert (out / name).read_text() == "mine"


def test_arguments_that_fail_delete_nothing(study, tmp_path):
    out = tmp_path / "run"
    run_study(study, out)
    before = sorted(path for path in out.rglob("*"))
    wrong = dataclasses.replace(study, groups=("Iran",), specific=True)
    with pytest.raises(CulnigError, match="two or more groups"):
        run_study(wrong, out, anew=True)
    assert sorted(path for path in out.rglob("*")) == before


def test_a_folder_of_others_is_not_touched(study, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "table.csv").write_text("mine")
    assert clear_run(out) == []
    assert (out / "table.csv").read_text() == "mine"
    with pytest.raises(CulnigError, match="holds other files"):
        run_study(study, out, anew=True)


def test_every_table_of_a_run_is_known():
    golden = Path(__file__).parents[1] / "golden"
    assert {file.stem for file in golden.glob("*.csv")} <= set(TABLES)
