"""A run's folder holds one study: whatever else is asked of it is refused, with both values."""

import dataclasses
import json
import re
import shutil

import pandas as pd
import pytest
import tiny
from safetensors.torch import load_file, save_file

from culnig_tl import load_model
from culnig_tl.errors import CulnigError, EmptySelection
from culnig_tl.files import half_written_name, read_json, write_json
from culnig_tl.measure.attribution import attribute
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.models.identity import weights_of
from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.provenance import check_arguments, note_arguments
from culnig_tl.study import feasible, verify
from culnig_tl.study import folder as folders
from culnig_tl.study import running as runs
from culnig_tl.study.arguments import Study
from culnig_tl.study.compare_methods import compare_methods
from culnig_tl.study.data import study_data
from culnig_tl.study.export import export_run
from culnig_tl.study.finetune import finetune_run, run_modules
from culnig_tl.study.folder import (
    STEPS,
    check_same_study,
    dataset_hashes,
    evaluation_file,
    finished_study,
    set_file,
    study_arguments,
)
from culnig_tl.study.lm_eval import lm_eval_run
from culnig_tl.study.maskings import GENERAL, study_maskings
from culnig_tl.study.precision import precision_run
from culnig_tl.study.running import read_run, run_study, write_run_report
from culnig_tl.study.short_answers import short_answers_run
from culnig_tl.study.verify import verify_run

STUDY = Study(
    limit=8, test_limit=4, rc_limit=4, other_limit=2, seeds=1, top_mlp=0.2, top_attention=0.1,
    tests=("paraphrase",), answer_format="cloze", token_budget=4096, device="cpu",
    model_class="TransformerBridge",
)  # fmt: skip
STOPS = ("score neuron", "score control", "score countryrc", "original", GENERAL, "random-0")


def no_figures(path, *arguments, **named):
    path.write_text("<html>")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run, a copy of its folder before each step, and its model with other weights."""
    home = tmp_path_factory.mktemp("runs")
    model, out = tiny.byte_model(home / "model"), home / "finished"
    study = dataclasses.replace(STUDY, model=str(model))
    stops = iter(STOPS)

    def copied(real):
        def step(*arguments, **options):
            shutil.copytree(out, home / next(stops))
            return real(*arguments, **options)

        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "write_report", no_figures)
        patch.setattr(runs, "attribute", copied(attribute))
        patch.setattr(runs, "evaluate", copied(evaluate))
        run_study(study, out)
    assert next(stops, None) is None
    other = shutil.copytree(model, home / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"].normal_(std=0.2)
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    return home, study


@pytest.fixture
def replaced(made):
    """The model's folder with other weights in it, until the test has ended."""
    home, _ = made
    weights, kept = home / "model" / "model.safetensors", home / "kept"
    shutil.copy(weights, kept)
    shutil.copy(home / "other" / "model.safetensors", weights)
    yield home
    shutil.copy(kept, weights)


def files_of(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_other_weights_between_any_two_steps(made, replaced, monkeypatch):
    home, study = made
    monkeypatch.setattr(runs, "load_study_model", None)  # refused before it is loaded
    values = [weights_of(str(home / name)) for name in ("other",)]
    for stop in (*STOPS, "finished"):
        before = files_of(home / stop)
        held = read_json(home / stop / "run.json")["model"]["weights"]
        with pytest.raises(CulnigError, match=f"with weights {held}, now it has {values[0]}: put"):
            run_study(study, home / stop)
        assert files_of(home / stop) == before


def test_a_run_goes_on_from_any_step(made, monkeypatch, tmp_path):
    home, study = made
    monkeypatch.setattr(runs, "write_report", no_figures)
    for stop in STOPS[:1]:
        out = shutil.copytree(home / stop, tmp_path / stop)
        run_study(study, out)
        for name in ("table.csv", f"evaluations/{GENERAL}.csv", f"sets/{GENERAL}.json"):
            assert (out / name).read_bytes() == (home / "finished" / name).read_bytes()


ON_A_RUN = {
    "verify": verify_run,
    "precision": precision_run,
    "compare-methods": compare_methods,
    "short-answers": short_answers_run,
    "finetune": lambda out: finetune_run(out, "paraphrase"),
    "lm-eval": lambda out: lm_eval_run(out, ["x"]),
    "export": lambda out: export_run(out, out / "x"),
    "modules": lambda out: run_modules(out, 0.1, "top", seed=0),
}


@pytest.mark.parametrize("step", ON_A_RUN)
def test_a_step_on_a_run_of_other_weights(made, replaced, step):
    out = made[0] / "finished"
    before = files_of(out)
    with pytest.raises(CulnigError, match="holds a run of .* with weights .*, now it has "):
        ON_A_RUN[step](out)
    assert files_of(out) == before


def test_a_run_of_other_numbers(made, monkeypatch):
    home, study = made
    monkeypatch.setattr(folders, "NUMBERS", 99)
    for ask in (lambda: run_study(study, home / GENERAL), lambda: verify_run(home / "finished")):
        with pytest.raises(CulnigError, match="numbers of version 1, this .* those of version 99"):
            ask()
    assert len(run_study(study, home / "finished")) == 2  # reading goes on
    run_modules(home / "finished", 0.1, "top", seed=0)


def without(content, *keys):
    return {key: value for key, value in content.items() if key not in keys}


def test_a_run_of_an_earlier_version(made, monkeypatch, tmp_path, caplog):
    """It has no weights, no numbers, and a model's path as it was given."""
    home, study = made
    out = shutil.copytree(home / GENERAL, tmp_path / "old")
    run = read_json(out / "run.json")
    run["arguments"] = without(run["arguments"], "focus_limit") | {"model": "model"}
    run["model"] = without(run["model"], "weights")
    run["versions"] = without(run["versions"], "numbers")
    write_json(out / "run.json", run)
    monkeypatch.chdir(home)
    monkeypatch.setattr(runs, "write_report", no_figures)
    run_study(dataclasses.replace(study, model="model"), out)
    assert "the same cannot be told" in caplog.text
    now = read_json(out / "run.json")
    assert "weights" not in now["model"]
    assert now["arguments"]["model"] == str(home / "model")
    _, finished = finished_study(out)
    assert finished.model == str(home / "model")


def test_paths_in_a_run_are_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    study = Study(model="m", data={"everyday": "d.csv"}, templates="t.json")
    found = folders.with_absolute_paths(study)
    assert found.model == str(tmp_path / "m")
    assert found.data == {"everyday": str(tmp_path / "d.csv")}
    assert found.templates == str(tmp_path / "t.json")
    assert folders.with_absolute_paths(Study(model="google/x")).model == "google/x"


CHANGED = [
    # argument, its new value, what is there, whether the change is taken
    ("variant", "mean", ["original"], True),
    ("variant", "mean", ["original", GENERAL], False),
    ("top_mlp", 0.5, [], True),
    ("top_mlp", 0.5, ["random-0"], False),
    ("factor", 2.0, ["original"], True),
    ("factor", 2.0, [GENERAL], False),
    ("test_limit", 9, [], True),
    ("test_limit", 9, ["original"], False),
    ("tests", (), ["original"], False),
    ("top", 0.5, ["original", GENERAL, "random-0"], True),
    ("top", 0.5, ["China"], False),
    ("seeds", 3, ["original", GENERAL, "random-0", "random-1"], True),
    ("seeds", 1, ["original", GENERAL, "random-0"], True),
    ("seeds", 1, ["random-1"], False),
    ("matched_seeds", 2, [GENERAL], True),
    ("specific", True, [GENERAL], True),
    ("ablations", True, [GENERAL], True),
    ("sweep", True, [GENERAL], True),
    ("limit", 9, [], False),
    ("answer_format", "letter", [], False),
    ("dtype", "float64", [], False),
    ("device", "cuda", [GENERAL], True),
    ("token_budget", 7, [GENERAL], True),
]


@pytest.mark.parametrize(("key", "value", "there", "taken"), CHANGED)
def test_what_may_change(tmp_path, key, value, there, taken):
    before = Study(seeds=2, model="none/such")
    run = {"arguments": study_arguments(before), "datasets": {}, "model": {}}
    for name in there:
        file = evaluation_file(tmp_path, name)
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    now = dataclasses.replace(before, **{key: value})
    if taken:
        check_same_study(tmp_path, run, now, datasets={})
        return
    with pytest.raises(CulnigError) as caught:
        check_same_study(tmp_path, run, now, datasets={})
    assert f"holds a run with {key} = " in str(caught.value)
    assert repr(json.loads(json.dumps(value))) in str(caught.value)
    if there:
        assert f"used by {there[0 if key in folders._TESTS else -1]!r}" in str(caught.value)


def test_less_is_refused_where_it_was_evaluated(tmp_path):
    for key in ("specific", "ablations", "sweep"):
        before = dataclasses.replace(Study(model="none/such"), **{key: True})
        run = {"arguments": study_arguments(before), "datasets": {}, "model": {}}
        check_same_study(tmp_path, run, Study(model="none/such"), datasets={})
        name = study_maskings(before)[-1].name
        file = evaluation_file(tmp_path, name)
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
        with pytest.raises(CulnigError, match=f"{key} = True .used by '{re.escape(name)}'."):
            check_same_study(tmp_path, run, Study(model="none/such"), datasets={})
        file.unlink()


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_used_the_selection(tmp_path, step):
    (tmp_path / step).mkdir()
    run = {"arguments": study_arguments(Study()), "datasets": {}, "model": {}}
    with pytest.raises(CulnigError, match=f"variant = 'max' .used by '{step}'.*has 'mean'"):
        check_same_study(tmp_path, run, Study(variant="mean"), datasets={})


def test_other_data_is_refused(tmp_path):
    study = dataclasses.replace(STUDY, model="none/such")
    data = study_data(study)
    run = {"arguments": study_arguments(study), "datasets": dataset_hashes(data), "model": {}}
    for name in data:
        part = [dataclasses.replace(data[name][0], cloze="Other: Answer:"), *data[name][1:]]
        now = dataset_hashes(data | {name: part})
        values = [f"'hash': '{hashes[name]['hash']}'" for hashes in (run["datasets"], now)]
        if name.endswith(" test"):
            file = evaluation_file(tmp_path, "original")
            file.unlink(missing_ok=True)
            check_same_study(tmp_path, run, study, datasets=now)  # nothing was asked yet
            file.parent.mkdir(exist_ok=True)
            file.write_text("")
        with pytest.raises(CulnigError, match=f"other data .{name}: .*{values[0]}.*{values[1]}"):
            check_same_study(tmp_path, run, study, datasets=now)


def test_a_corrected_argument_after_scoring(made, monkeypatch, tmp_path, capsys):
    """A selection that is empty, or of another variant, does not lock the folder."""
    home, study = made
    out = shutil.copytree(home / "original", tmp_path / "out")
    monkeypatch.setattr(runs, "write_report", no_figures)
    monkeypatch.setattr(runs, "attribute", None)  # what was scored is kept
    model = load_model(study.model, model_class=study.model_class)
    monkeypatch.setattr(runs, "load_study_model", lambda study: model)
    run = read_json(out / "run.json")
    run["arguments"] |= {"variant": "mean", "top_mlp": 1e-4, "specific": True, "top": 0.9}
    write_json(out / "run.json", run)
    stale = set_file(out, "China")
    shutil.copy(set_file(out, GENERAL), stale)
    table = run_study(study, out)
    pd.testing.assert_frame_equal(table, read_run(home / "finished"))
    # More is asked of it: only that is evaluated. Until it is there, the run is not finished.
    evaluated = []
    monkeypatch.setattr(
        runs, "evaluate", lambda *a, **k: evaluated.append(a[2].name) or evaluate(*a, **k)
    )
    more = dataclasses.replace(study, seeds=2)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "evaluate", None)
        with pytest.raises(TypeError):
            run_study(more, out)
    with pytest.raises(CulnigError, match="holds no finished run"):
        finished_study(out)
    run_study(more, out)
    assert evaluated == ["random-1"]
    assert (out / "report.html").exists()


@pytest.mark.parametrize("what", ["scores", "set", "evaluation"])
def test_files_of_another_study(made, monkeypatch, tmp_path, what):
    home, study = made
    out = shutil.copytree(home / GENERAL, tmp_path / "out")
    if what == "scores":
        other = home / "foreign"
        if not other.exists():
            model = load_model(str(home / "other"), model_class="TransformerBridge")
            instances = study_data(study)["neuron"]
            attribute(model, instances, answer_format="cloze").save(other)
        shutil.copy(other, folders.scores_file(out, "neuron"))
        words = "neuron.safetensors was made with model .*other, expected .*model"
    elif what == "evaluation":
        file = evaluation_file(out, "original")
        file.write_text(file.read_text().replace("paraphrase", "another"))
        words = "original.csv is of other instances than are asked: delete it"
    else:
        out = shutil.copytree(home / "finished", tmp_path / "finished")
        content = read_json(set_file(out, GENERAL))
        content["provenance"]["model"]["weights"] = "f" * 32
        write_json(set_file(out, GENERAL), content)
        with pytest.raises(CulnigError, match=f"a model with weights {'f' * 32}, the run's has"):
            runs.run_sets(out, "general")
        return
    with pytest.raises(CulnigError, match=words):
        run_study(study, out)


def test_reading_writes_nothing(made, monkeypatch):
    home, study = made
    out = home / "finished"
    before = files_of(out)

    def refuses(path, *arguments, **options):
        raise AssertionError(f"{path} is written")

    for module in (folders, runs, verify):
        for name in ("write_atomically", "write_json", "half_written", "clear_half_written"):
            monkeypatch.setattr(module, name, refuses, raising=False)
    for module in ("files", "frames", "study.report", "neurons.sets", "training.modules"):
        for name in ("write_atomically", "write_json"):
            monkeypatch.setattr(f"culnig_tl.{module}.{name}", refuses, raising=False)
    table = run_study(study, out)
    pd.testing.assert_frame_equal(table, read_run(out))
    run_modules(out, 0.1, "top", seed=0)
    finished_study(out)
    runs.run_sets(out, "general")
    runs.run_scores(out, run=read_json(out / "run.json"))
    check_arguments(out / "run.json", {"new": 1})
    check_arguments(out / "none.json", {"new": 1})
    with pytest.raises(AssertionError, match="is written"):
        write_run_report(out)
    assert files_of(out) == before


def test_arguments_of_a_step(tmp_path):
    file = tmp_path / "step" / "step.json"
    note_arguments(file, {"steps": 2, "sets": {"a": "1"}, "train_hash": "x"})
    assert read_json(file) == {"steps": 2, "sets": {"a": "1"}, "train_hash": "x", "numbers": 1}
    note_arguments(file, {"steps": 2, "new": 1})  # what an earlier version did not note
    for changed, words in (
        ({"steps": 3}, "steps = 2, this asks for 3: give the same, or delete"),
        ({"train_hash": "y"}, "train_hash = x, this asks for y"),
        ({"sets": {"a": "2"}}, "sets.a = 1, this asks for 2"),
        ({"sets": {}}, "sets.a = 1, this asks for None"),
    ):
        with pytest.raises(CulnigError, match=words):
            note_arguments(file, changed)
    write_json(file, {"steps": 2, "numbers": 0})
    with pytest.raises(CulnigError, match="numbers = 0, this asks for 1"):
        note_arguments(file, {"steps": 2})


def test_the_commit_that_a_run_used_is_asked_for(made, monkeypatch, tmp_path):
    home, _ = made
    out, commit = shutil.copytree(home / "finished", tmp_path / "out"), "a" * 40
    run = read_json(out / "run.json")
    run["model"] |= {"revision": commit, "weights": "w"}
    run["arguments"] |= {"model": "us/tiny"}
    write_json(out / "run.json", run)
    monkeypatch.setattr(folders, "commit_of", lambda name, revision=None: revision or "b" * 40)
    monkeypatch.setattr(folders, "weights_of", lambda name, revision=None: "w")
    assert finished_study(out)[1].revision == commit
    # The run itself asks for what its argument stands for now.
    study = dataclasses.replace(STUDY, model="us/tiny")
    words = f"with revision {commit}, now it has {'b' * 40}: ask for the same commit .--revision {commit}"
    with pytest.raises(CulnigError, match=words):
        check_same_study(out, run, study, datasets=run["datasets"])
    check_same_study(
        out, run, dataclasses.replace(study, revision=commit), datasets=run["datasets"]
    )


SPECIFIC = dataclasses.replace(STUDY, specific=True, limit=32, test_limit=32, rc_limit=16)
IMPOSSIBLE = {
    "no question about a country": (
        dataclasses.replace(SPECIFIC, test_limit=8),
        "no instance of 'everyday test' is about 'China', .*raise test_limit, now 8",
    ),
    "no passage about a country": (
        dataclasses.replace(SPECIFIC, rc_limit=4),
        "no instance of 'countryrc' is about 'China', .*raise rc_limit, now 4",
    ),
    "no neurons of a country": (
        dataclasses.replace(SPECIFIC, limit=8),
        "no instance of 'neuron' is about '.*', .*raise limit, now 8",
    ),
    "one country": (
        dataclasses.replace(SPECIFIC, countries=("Iran",)),
        "need instances of two or more countries, and these are of Iran",
    ),
    "an empty test": (
        dataclasses.replace(STUDY, countries=("China",), focus_limit=4, task="everyday"),
        None,
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_can_only_fail_is_refused_first(monkeypatch, tmp_path, case):
    study, words = IMPOSSIBLE[case]
    if words is None:  # no limit of ours leaves a test empty: data of one's own might
        with pytest.raises(CulnigError, match="no instance for 'everyday test': raise its limit"):
            feasible.check_data(study, study_maskings(study), {"everyday test": []})
        return
    monkeypatch.setattr(runs, "load_study_model", None)
    with pytest.raises(CulnigError, match=words):
        run_study(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_instance_twice_among_the_tests():
    twice = tiny.instances(2)
    with pytest.raises(CulnigError, match="the test of 'tiny' has instance 'tiny-1' twice"):
        feasible.check_data(STUDY, study_maskings(STUDY), {"tiny test": [*twice, twice[1]]})


def test_shares_that_leave_nothing():
    study = dataclasses.replace(STUDY, top_mlp=1e-3, top_attention=1e-3)
    layout = NeuronLayout(n_layers=2, gate=48, q=32, k=16, v=16)
    with pytest.raises(EmptySelection, match="the selection 'culture-general' is empty"):
        feasible.check_selection(study, layout)
    feasible.check_selection(STUDY, layout)


LATE = {
    "precision": (
        lambda out: precision_run(out, dtypes=["bfloat16", "int8"]),
        "unknown dtype 'int8'",
    ),
    "short answers": (lambda out: short_answers_run(out, data=out / "blend"), "install .*saq"),
    "finetune steps": (
        lambda out: finetune_run(out, "paraphrase", test_limit=4, steps=3, evaluate_every=2),
        "steps 3 is no multiple of evaluate_every 2",
    ),
    "finetune share": (
        lambda out: finetune_run(out, "paraphrase", share=1.0, test_limit=20),
        "share is 1.0, and",
    ),
    "finetune lora": (
        lambda out: finetune_run(out, "paraphrase", lora=2, test_limit=20),
        "lora needs the package peft",
    ),
    "finetune items": (
        lambda out: finetune_run(out, "paraphrase", test_limit=10**6),
        "are to be tests",
    ),
    "lm-eval seeds": (lambda out: lm_eval_run(out, ["x"], seeds=2), "seeds is 2: give 1 or less"),
}


@pytest.mark.parametrize("case", LATE)
def test_a_step_that_can_only_fail_is_refused_first(made, monkeypatch, case):
    """Before a model is loaded."""
    out = made[0] / "finished"
    ask, words = LATE[case]
    for module in ("study.precision", "study.short_answers", "study.finetune", "study.lm_eval"):
        for name in ("load_study_model", "load_study_hf_model"):
            monkeypatch.setattr(f"culnig_tl.{module}.{name}", None, raising=False)
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    if case == "short answers":
        folder = out / "blend" / "annotations"
        folder.mkdir(parents=True, exist_ok=True)
        asked = {"question": "¿Qué?", "annotations": [{"answers": ["vino"], "count": 1}]}
        monkeypatch.setattr("culnig_tl.tasks.short_questions.LANGUAGES", {"Spain": "es"})
        (folder / "Spain_data.json").write_text(json.dumps({"A-1": asked}))
        monkeypatch.setattr("culnig_tl.measure.answering.basic_words", lambda *a, **k: missing())
    with pytest.raises(CulnigError, match=words):
        ask(out)


def missing():
    raise CulnigError("judging needs the package 'x': pip install 'culnig-tl[saq]'")


def test_verify_of_one_country():
    assert verify._patched_countries(("Iran",)) == ("Iran", "China", "Mexico", "USA")
    assert verify._patched_countries(("US", "Iran")) == ("USA", "Iran")
    assert verify._patched_countries(None) == verify.FEW_COUNTRIES


def test_verify_without_a_pair(made, monkeypatch):
    monkeypatch.setattr(verify, "country_pairs", lambda instances: [])
    monkeypatch.setattr(verify, "load_study_model", None)
    with pytest.raises(CulnigError, match="cannot be verified: patching .* no two countries"):
        verify_run(made[0] / "finished")


def test_what_killed_processes_left_is_cleared_on_resuming(made, monkeypatch, tmp_path):
    home, study = made
    out = shutil.copytree(home / "random-0", tmp_path / "out")
    monkeypatch.setattr(runs, "write_report", no_figures)
    mine = half_written_name(suffix=".csv")
    dead = re.sub(r"-\d+-", "-999999999-", mine)
    for folder in (out, out / "scores", out / "evaluations"):
        for name in (mine, dead, ".culnig-notes", ".pre-commit-config.yaml"):
            (folder / name).write_text("x")
    run_study(study, out)
    for folder in (out, out / "scores", out / "evaluations"):
        left = {p.name for p in folder.iterdir() if p.name.startswith(".")}
        assert left == {mine, ".culnig-notes", ".pre-commit-config.yaml"}


def test_links_that_lead_out_of_a_run(made, tmp_path):
    home, study = made
    out = tmp_path / "run"
    shutil.copytree(home / "finished", out)
    (tmp_path / "linked").symlink_to(out)  # the folder itself may be one
    assert len(read_run(tmp_path / "linked"))
    write_run_report(tmp_path / "linked")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(out / "sets", elsewhere)
    (out / "sets").symlink_to(elsewhere)
    before = files_of(elsewhere)
    for step in (
        lambda: write_run_report(out),
        lambda: run_study(study, out),
        lambda: verify_run(out),
    ):
        with pytest.raises(
            CulnigError, match="sets is a link to .*elsewhere, out of the run's fold"
        ):
            step()
    assert files_of(elsewhere) == before
    (out / "loop").symlink_to(out / "loop")
    with pytest.raises(CulnigError, match=r"(sets|loop) is a link to "):
        write_run_report(out)
