"""A run of an earlier version, where groups were called countries, can be read and gone on with."""

import dataclasses
import json
import shutil

import pandas as pd
import pytest
import tiny
from safetensors import safe_open
from safetensors.numpy import save_file

from culnig_tl.study.run import Run
from culnig_tl.study.running import run_study

BEFORE = {"groups": "countries", "name_filter": "countryrc", "names": "countryrc"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    study = tiny.study(
        folder / "tiny",
        tests=("countryrc",),
        groups=("Iran", "Spain"),
        limit=6,
        test_limit=6,
        other_limit=4,
        specific=True,
        top=0.2,
        least_z=0.0,
    )
    return run_study(study, folder / "run")


@pytest.fixture
def aged(finished, tmp_path):
    """The folder of the run as an earlier version would have left it."""
    out = tmp_path / "run"
    shutil.copytree(finished.folder, out)
    about = json.loads((out / "run.json").read_text())
    for part in ("arguments", "datasets"):
        about[part] = {BEFORE.get(key, key): value for key, value in about[part].items()}
    (out / "run.json").write_text(json.dumps(about))
    (out / "scores" / "names.safetensors").rename(out / "scores" / "countryrc.safetensors")
    for file in (out / "scores").glob("*.safetensors"):
        with safe_open(file, framework="numpy") as opened:
            about = json.loads(opened.metadata()["about"])
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        about = {BEFORE.get(key, key): value for key, value in about.items()}
        about["format"] = "culnig_tl scores, version 3"
        save_file(tensors, file, metadata={"about": json.dumps(about)})
    for file in (out / "evaluations").glob("*.csv"):
        first, rest = file.read_text().split("\n", 1)
        file.write_text(first.replace("group", "country") + "\n" + rest)
    return out


def test_it_is_read(finished, aged):
    run = Run.open(aged)
    assert run.study == finished.study
    for name, table in finished.tables.items():
        pd.testing.assert_frame_equal(run.tables[name], table)
    assert run.scores("names").groups == finished.scores("names").groups
    assert run.data.parts.keys() == finished.data.parts.keys()
    assert "report.html" in str(run.write_report())


def test_it_is_gone_on_with(finished, aged):
    """More of it is asked, and nothing that is there is made again."""
    before = {file: file.stat().st_mtime_ns for file in (aged / "scores").iterdir()}
    evaluated = {file: file.stat().st_mtime_ns for file in (aged / "evaluations").iterdir()}
    run = run_study(dataclasses.replace(finished.study, seeds=2), aged)
    assert {file: file.stat().st_mtime_ns for file in (aged / "scores").iterdir()} == before
    for file, time in evaluated.items():
        assert file.stat().st_mtime_ns == time
    assert len(run.of_kind("random")) == 2
