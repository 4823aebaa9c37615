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
from culnig_tl.measure import attribution, evaluation, pairs
from culnig_tl.measure.attribution import attribute
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.models import loading
from culnig_tl.models.identity import weights_of
from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.provenance import check_arguments, note_arguments
from culnig_tl.study import feasible, report, same_study, verify
from culnig_tl.study import folder as folders
from culnig_tl.study import run as run_module
from culnig_tl.study import running as runs
from culnig_tl.study.arguments import Study
from culnig_tl.study.compare_methods import compare_methods
from culnig_tl.study.data import StudyData, study_data
from culnig_tl.study.export import export_run
from culnig_tl.study.finetune import finetune_run, run_modules
from culnig_tl.study.folder import (
    dataset_hashes,
    evaluation_file,
    set_file,
    study_arguments,
)
from culnig_tl.study.lm_eval import lm_eval_run
from culnig_tl.study.maskings import GENERAL, study_maskings
from culnig_tl.study.precision import precision_run
from culnig_tl.study.run import Run
from culnig_tl.study.running import run_study
from culnig_tl.study.same_study import STEPS, check_same_study
from culnig_tl.study.short_answers import short_answers_run
from culnig_tl.study.verify import verify_run
from culnig_tl.training.settings import Training

STUDY = Study(
    limit=8, test_limit=4, rc_limit=4, other_limit=2, seeds=1, top_mlp=0.2, top_attention=0.1,
    tests=("paraphrase",), answer_format="cloze", token_budget=4096, device="cpu",
    model_class="TransformerBridge",
)  # fmt: skip
STOPS = ("score neuron", "score control", "score names", "original", GENERAL, "random-0")


def no_figures(run):
    file = run.folder / "report.html"
    file.write_text("<html>")
    return file


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
        patch.setattr(report, "write_report", no_figures)
        patch.setattr(attribution, "attribute", copied(attribute))
        patch.setattr(evaluation, "evaluate", copied(evaluate))
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
    monkeypatch.setattr(report, "write_report", no_figures)
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
    monkeypatch.setattr(same_study, "NUMBERS", 99)
    for ask in (lambda: run_study(study, home / GENERAL), lambda: verify_run(home / "finished")):
        with pytest.raises(CulnigError, match="numbers of version 1, this .* those of version 99"):
            ask()
    assert len(run_study(study, home / "finished").table) == 2  # reading goes on
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
    monkeypatch.setattr(report, "write_report", no_figures)
    run_study(dataclasses.replace(study, model="model"), out)
    assert "the same cannot be told" in caplog.text
    now = read_json(out / "run.json")
    assert "weights" not in now["model"]
    assert now["arguments"]["model"] == str(home / "model")
    finished = Run.for_step(out).study
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


BEFORE = Study(seeds=2, model="none/such")
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


def asked_before(folder, there):
    """What a run of `BEFORE` wrote down, with the evaluations of these names in its folder."""
    for name in there:
        file = evaluation_file(folder, name)
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    return {"arguments": study_arguments(BEFORE), "datasets": {}, "model": {}}


@pytest.mark.parametrize(("key", "value", "there"), [case[:3] for case in CHANGED if case[3]])
def test_what_may_change(tmp_path, key, value, there):
    run, now = asked_before(tmp_path, there), dataclasses.replace(BEFORE, **{key: value})
    check_same_study(tmp_path, run, now, datasets={})


@pytest.mark.parametrize(("key", "value", "there"), [case[:3] for case in CHANGED if not case[3]])
def test_what_may_not_change(tmp_path, key, value, there):
    run, now = asked_before(tmp_path, there), dataclasses.replace(BEFORE, **{key: value})
    with pytest.raises(CulnigError) as caught:
        check_same_study(tmp_path, run, now, datasets={})
    assert f"holds a run with {key} = " in str(caught.value)
    assert repr(json.loads(json.dumps(value))) in str(caught.value)
    if there:
        assert f"used by {there[0 if key in same_study._TESTS else -1]!r}" in str(caught.value)


@pytest.mark.parametrize("key", ["specific", "ablations", "sweep"])
def test_less_is_refused_where_it_was_evaluated(tmp_path, key):
    before = dataclasses.replace(Study(model="none/such"), **{key: True})
    run = {"arguments": study_arguments(before), "datasets": {}, "model": {}}
    check_same_study(tmp_path, run, Study(model="none/such"), datasets={})
    name = study_maskings(before)[-1].name
    file = evaluation_file(tmp_path, name)
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    with pytest.raises(CulnigError, match=f"{key} = True .used by '{re.escape(name)}'."):
        check_same_study(tmp_path, run, Study(model="none/such"), datasets={})


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
    for name, (first, *others) in data.parts.items():
        part = [dataclasses.replace(first, cloze="Other: Answer:"), *others]
        if name.endswith(" test"):
            changed = {"tests": {**data.tests, name.removesuffix(" test"): part}}
        else:
            changed = {name: part}
        now = dataset_hashes(dataclasses.replace(data, **changed))
        values = [f"'hash': '{hashes[name]['hash']}'" for hashes in (run["datasets"], now)]
        if name.endswith(" test"):
            file = evaluation_file(tmp_path, "original")
            file.unlink(missing_ok=True)
            check_same_study(tmp_path, run, study, datasets=now)  # nothing was asked yet
            file.parent.mkdir(exist_ok=True)
            file.write_text("")
        with pytest.raises(CulnigError, match=f"other data .{name}: .*{values[0]}.*{values[1]}"):
            check_same_study(tmp_path, run, study, datasets=now)


@pytest.fixture
def scored(monkeypatch):
    """What was scored is kept: nothing is scored again, and no figure drawn."""
    monkeypatch.setattr(report, "write_report", no_figures)
    monkeypatch.setattr(attribution, "attribute", None)


@pytest.mark.usefixtures("scored")
def test_a_corrected_argument_after_scoring(made, tmp_path):
    """A selection that is empty, or of another variant, does not lock the folder."""
    home, study = made
    out = shutil.copytree(home / "original", tmp_path / "out")
    run = read_json(out / "run.json")
    run["arguments"] |= {"variant": "mean", "top_mlp": 1e-4, "specific": True, "top": 0.9}
    write_json(out / "run.json", run)
    stale = set_file(out, "China")
    shutil.copy(set_file(out, GENERAL), stale)
    table = run_study(study, out).table
    pd.testing.assert_frame_equal(table, Run.open(home / "finished").table)


@pytest.mark.usefixtures("scored")
def test_a_run_of_which_more_is_asked_is_not_finished(made, monkeypatch, tmp_path):
    home, study = made
    out = shutil.copytree(home / "finished", tmp_path / "out")
    monkeypatch.setattr(evaluation, "evaluate", None)
    with pytest.raises(TypeError):
        run_study(dataclasses.replace(study, seeds=2), out)
    with pytest.raises(CulnigError, match="holds no finished run"):
        Run.for_step(out)


@pytest.mark.usefixtures("scored")
def test_only_what_more_is_asked_is_evaluated(made, monkeypatch, tmp_path):
    home, study = made
    out = shutil.copytree(home / "finished", tmp_path / "out")
    (out / "report.html").unlink()
    evaluated = []
    monkeypatch.setattr(
        evaluation, "evaluate", lambda *a, **k: evaluated.append(a[2].name) or evaluate(*a, **k)
    )
    run_study(dataclasses.replace(study, seeds=2), out)
    assert evaluated == ["random-1"]
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("scores", "neuron.safetensors was made with model .*other, expected .*model"),
        ("evaluation", "original.csv is of other instances than are asked: delete it"),
    ],
)
def test_files_of_another_study(made, tmp_path, what, words):
    home, study = made
    out = shutil.copytree(home / GENERAL, tmp_path / "out")
    if what == "scores":
        model = load_model(str(home / "other"), model_class="TransformerBridge")
        scores = attribute(model, study_data(study).neuron, answer_format="cloze")
        folders.scores_file(out, "neuron").unlink()
        scores.save(folders.scores_file(out, "neuron"))
    else:
        file = evaluation_file(out, "original")
        file.write_text(file.read_text().replace("paraphrase", "another"))
    with pytest.raises(CulnigError, match=words):
        run_study(study, out)


def test_a_set_of_a_model_with_other_weights(made, tmp_path):
    out = shutil.copytree(made[0] / "finished", tmp_path / "finished")
    content = read_json(set_file(out, GENERAL))
    content["provenance"]["model"]["weights"] = "f" * 32
    write_json(set_file(out, GENERAL), content)
    with pytest.raises(CulnigError, match=f"a model with weights {'f' * 32}, the run's has"):
        _ = Run.open(out).sets


WRITERS = ("write_atomically", "write_json", "half_written", "clear_half_written")
WRITING = (
    *("study.folder", "study.running", "study.run", "study.verify", "study.report", "study.once"),
    *("files", "frames", "neurons.sets", "training.modules"),
)
READS = {
    "the study again": lambda run, study: run_study(study, run.folder),
    "the run for a step": lambda run, study: Run.for_step(run.folder),
    "modules": lambda run, study: run_modules(run, 0.1, "top", seed=0),
    "neurons": lambda run, study: run.neurons,
    "random sets": lambda run, study: run.random(),
    "no specific sets": lambda run, study: not run.specific,
    "scores": lambda run, study: [run.scores(n) for n in ("neuron", "control", "names")],
    "data": lambda run, study: run.data.neuron,
    "an evaluation": lambda run, study: len(run.evaluation("original")),
    "its text": lambda run, study: "culture-general" in repr(run),
    "arguments": lambda run, study: check_arguments(run.folder / "run.json", {"new": 1}) is None,
    "no arguments": lambda run, study: check_arguments(run.folder / "no.json", {"new": 1}) is None,
}


@pytest.fixture
def unwritable(monkeypatch):
    def refuses(path, *arguments, **options):
        raise AssertionError(f"{path} is written")

    for module in WRITING:
        for name in WRITERS:
            monkeypatch.setattr(f"culnig_tl.{module}.{name}", refuses, raising=False)


@pytest.mark.usefixtures("unwritable")
@pytest.mark.parametrize("what", READS)
def test_reading_writes_nothing(made, what):
    home, study = made
    before = files_of(home / "finished")
    assert READS[what](Run.for_step(home / "finished"), study)
    assert files_of(home / "finished") == before


@pytest.mark.usefixtures("unwritable")
def test_a_report_cannot_be_made_without_writing(made):
    before = files_of(made[0] / "finished")
    with pytest.raises(AssertionError, match="is written"):
        Run.open(made[0] / "finished").write_report()
    assert files_of(made[0] / "finished") == before


def test_a_finished_study_is_the_run_that_is_there(made):
    home, study = made
    table = run_study(study, home / "finished").table
    pd.testing.assert_frame_equal(table, Run.for_step(home / "finished").table)


@pytest.fixture
def step(tmp_path):
    """A step's file, with what it was asked."""
    file = tmp_path / "step" / "step.json"
    note_arguments(file, {"steps": 2, "sets": {"a": "1"}, "train_hash": "x"})
    return file


def test_arguments_of_a_step_are_noted_with_the_numbers_version(step):
    assert read_json(step) == {"steps": 2, "sets": {"a": "1"}, "train_hash": "x", "numbers": 1}


def test_an_argument_that_an_earlier_version_did_not_note(step):
    note_arguments(step, {"steps": 2, "new": 1})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"steps": 3}, "steps = 2, this asks for 3: give the same, or delete"),
        ({"train_hash": "y"}, "train_hash = x, this asks for y"),
        ({"sets": {"a": "2"}}, "sets.a = 1, this asks for 2"),
        ({"sets": {}}, "sets.a = 1, this asks for None"),
    ],
    ids=["a number", "a hash", "another set", "a set less"],
)
def test_other_arguments_of_a_step(step, changed, words):
    note_arguments(step, {"steps": 2, "new": 1})
    with pytest.raises(CulnigError, match=words):
        note_arguments(step, changed)


def test_a_step_of_other_numbers(step):
    write_json(step, {"steps": 2, "numbers": 0})
    with pytest.raises(CulnigError, match="numbers = 0, this asks for 1"):
        note_arguments(step, {"steps": 2})


USED, NOW = "a" * 40, "b" * 40


@pytest.fixture
def of_a_commit(made, monkeypatch, tmp_path):
    """A run of a model from the Hub, which has another commit now and the same weights."""
    out = shutil.copytree(made[0] / "finished", tmp_path / "out")
    run = read_json(out / "run.json")
    run["model"] |= {"revision": USED, "weights": "w"}
    run["arguments"] |= {"model": "us/tiny"}
    write_json(out / "run.json", run)
    for module in (same_study, run_module):
        monkeypatch.setattr(module, "commit_of", lambda name, revision=None: revision or NOW)
        monkeypatch.setattr(module, "weights_of", lambda name, revision=None: "w")
    return out


def test_a_step_asks_for_the_commit_that_the_run_used(of_a_commit):
    assert Run.for_step(of_a_commit).pinned.revision == USED


def test_the_run_itself_asks_for_what_its_argument_stands_for_now(of_a_commit):
    run = read_json(of_a_commit / "run.json")
    study = dataclasses.replace(STUDY, model="us/tiny")
    words = f"with revision {USED}, now it has {NOW}: ask for the same commit .--revision {USED}"
    with pytest.raises(CulnigError, match=words):
        check_same_study(of_a_commit, run, study, datasets=run["datasets"])
    pinned = dataclasses.replace(study, revision=USED)
    check_same_study(of_a_commit, run, pinned, datasets=run["datasets"])


SPECIFIC = dataclasses.replace(STUDY, specific=True, limit=32, test_limit=32, rc_limit=16)
IMPOSSIBLE = {
    "no question about a country": (
        dataclasses.replace(SPECIFIC, test_limit=8),
        "no instance of 'everyday test' is about 'China', .*raise test_limit, now 8",
    ),
    "no passage about a country": (
        dataclasses.replace(SPECIFIC, rc_limit=4),
        "no instance of 'names' is about 'China', .*raise rc_limit, now 4",
    ),
    "no neurons of a country": (
        dataclasses.replace(SPECIFIC, limit=8),
        "no instance of 'neuron' is about '.*', .*raise limit, now 8",
    ),
    "one country": (
        dataclasses.replace(SPECIFIC, groups=("Iran",)),
        "need instances of two or more groups, and these are of Iran",
    ),
}


def data_of(**tests):
    some = tiny.instances(1)
    return StudyData(neuron=some, control=some, names=some, tests=tests)


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_can_only_fail_is_refused_first(monkeypatch, tmp_path, case):
    study, words = IMPOSSIBLE[case]
    monkeypatch.setattr(runs, "load_study_model", None)
    with pytest.raises(CulnigError, match=words):
        run_study(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_test():
    """No limit of ours leaves one: data of one's own might."""
    study = dataclasses.replace(STUDY, groups=("China",), focus_limit=4, task="everyday")
    with pytest.raises(CulnigError, match="no instance for 'everyday test': raise its limit"):
        feasible.check_data(study, study_maskings(study), data_of(everyday=[]))


def test_an_instance_twice_among_the_tests():
    twice = tiny.instances(2)
    with pytest.raises(CulnigError, match="the test of 'tiny' has instance 'tiny-1' twice"):
        feasible.check_data(STUDY, study_maskings(STUDY), data_of(tiny=[*twice, twice[1]]))


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
    "finetune steps": (
        lambda out: finetune_run(
            out, "paraphrase", test_limit=4, training=Training(steps=3, evaluate_every=2)
        ),
        "steps 3 is no multiple of evaluate_every 2",
    ),
    "finetune share": (
        lambda out: finetune_run(out, "paraphrase", share=1.0, test_limit=20),
        "share is 1.0, and",
    ),
    "finetune lora": (
        lambda out: finetune_run(out, "paraphrase", training=Training(lora=2), test_limit=20),
        "lora needs the package peft",
    ),
    "finetune items": (
        lambda out: finetune_run(out, "paraphrase", test_limit=10**6),
        "are to be tests",
    ),
    "lm-eval seeds": (lambda out: lm_eval_run(out, ["x"], seeds=2), "seeds is 2: give 1 or less"),
}


@pytest.fixture
def no_model(monkeypatch):
    """Whatever loads one fails in another way than the test expects."""
    for name in ("load_model", "load_hf_model"):
        monkeypatch.setattr(loading, name, None)


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("case", LATE)
def test_a_step_that_can_only_fail_is_refused_first(made, monkeypatch, case):
    """Before a model is loaded."""
    ask, words = LATE[case]
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(CulnigError, match=words):
        ask(made[0] / "finished")


@pytest.mark.usefixtures("no_model")
def test_short_answers_that_cannot_be_judged_are_refused_first(made, monkeypatch, tmp_path):
    folder = tmp_path / "blend" / "annotations"
    folder.mkdir(parents=True)
    asked = {"question": "¿Qué?", "annotations": [{"answers": ["vino"], "count": 1}]}
    (folder / "Spain_data.json").write_text(json.dumps({"A-1": asked}))
    monkeypatch.setattr("culnig_tl.tasks.short_questions.LANGUAGES", {"Spain": "es"})
    monkeypatch.setattr("culnig_tl.measure.answering.basic_words", lambda *a, **k: missing())
    with pytest.raises(CulnigError, match="install .*saq"):
        short_answers_run(made[0] / "finished", data=tmp_path / "blend")


def missing():
    raise CulnigError("judging needs the package 'x': pip install 'culnig-tl[saq]'")


def test_verify_of_one_country():
    assert verify._patched_groups(Study(groups=("Iran",))) == (
        "Iran",
        "China",
        "Mexico",
        "USA",
    )
    assert verify._patched_groups(Study(groups=("US", "Iran"))) == ("USA", "Iran")
    assert verify._patched_groups(Study()) == verify.FEW_COUNTRIES


def test_verify_without_a_pair(made, monkeypatch):
    monkeypatch.setattr(pairs, "group_pairs", lambda instances: [])
    monkeypatch.setattr(loading, "load_model", None)
    with pytest.raises(CulnigError, match="cannot be verified: patching .* no two groups"):
        verify_run(made[0] / "finished")


def test_what_killed_processes_left_is_cleared_on_resuming(made, monkeypatch, tmp_path):
    home, study = made
    out = shutil.copytree(home / "random-0", tmp_path / "out")
    monkeypatch.setattr(report, "write_report", no_figures)
    mine = half_written_name(suffix=".csv")
    dead = re.sub(r"-\d+-", "-999999999-", mine)
    for folder in (out, out / "scores", out / "evaluations"):
        for name in (mine, dead, ".culnig-notes", ".pre-commit-config.yaml"):
            (folder / name).write_text("x")
    run_study(study, out)
    for folder in (out, out / "scores", out / "evaluations"):
        left = {p.name for p in folder.iterdir() if p.name.startswith(".")}
        assert left == {mine, ".culnig-notes", ".pre-commit-config.yaml"}


def test_a_run_may_be_a_link(made, tmp_path):
    out = shutil.copytree(made[0] / "finished", tmp_path / "run")
    (tmp_path / "linked").symlink_to(out)
    assert len(Run.open(tmp_path / "linked").table)
    Run.open(tmp_path / "linked").write_report()


@pytest.fixture
def led_out(made, tmp_path):
    """A run whose sets are elsewhere, and where."""
    out, elsewhere = shutil.copytree(made[0] / "finished", tmp_path / "run"), tmp_path / "elsewhere"
    shutil.move(out / "sets", elsewhere)
    (out / "sets").symlink_to(elsewhere)
    return out, elsewhere


@pytest.mark.parametrize(
    "ask",
    [
        lambda out, study: Run.open(out).write_report(),
        lambda out, study: run_study(study, out),
        lambda out, study: verify_run(out),
    ],
    ids=["report", "run", "verify"],
)
def test_links_that_lead_out_of_a_run(made, led_out, ask):
    out, elsewhere = led_out
    before = files_of(elsewhere)
    with pytest.raises(CulnigError, match="sets is a link to .*elsewhere, out of the run's fold"):
        ask(out, made[1])
    assert files_of(elsewhere) == before


def test_a_link_to_itself_beside_one_that_leads_out(led_out):
    out, _ = led_out
    (out / "loop").symlink_to(out / "loop")
    with pytest.raises(CulnigError, match=r"(sets|loop) is a link to "):
        Run.open(out).write_report()
