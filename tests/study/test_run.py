"""A finished run as an object: what it gives, what a step makes, and what it refuses."""

import json

import pandas as pd
import pytest
import tiny

from culnig_tl import CulnigError, NeuronSet, Run, Scores, Study, run_study
from culnig_tl.frames import COUNT, NAME, Frame
from culnig_tl.study.folder import evaluation_file

TABLE = Frame({"name": NAME, "count": COUNT}, key=("name",))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    study = Study(
        model=str(tiny.byte_model(folder / "tiny")), tests=("paraphrase",), answer_format="cloze",
        limit=16, test_limit=16, rc_limit=8, other_limit=2, seeds=2, matched_seeds=1,
        top_mlp=0.2, top_attention=0.1, specific=True, groups=("Iran", "Spain"), top=0.2,
        least_z=0.0,
    )  # fmt: skip
    return run_study(study, folder / "run").folder


@pytest.fixture
def run(finished):
    return Run.open(finished)


def test_what_a_run_gives(run):
    assert isinstance(run.neurons, NeuronSet)
    assert run.neurons.name == "culture-general"
    assert [neurons.name for neurons in run.random()] == ["random-0", "random-1"]
    assert [neurons.name for neurons in run.random(1)] == ["random-0"]
    assert set(run.specific) <= {"Iran", "Spain"}
    assert isinstance(run.scores("control"), Scores)
    assert run.scores().provenance["dataset"]["split"] == "neuron"
    assert list(run.table.index) == ["everyday", "paraphrase"]
    assert len(run.data.asked) == len(run.evaluation("original")) == 18
    assert run.study.groups == ("Iran", "Spain")


def test_a_run_shows_itself(run):
    assert f"culture-general: {len(run.neurons)} of 336 neurons" in repr(run)
    assert "steps: none" in repr(run)
    assert "<table" in run._repr_html_()
    assert "everyday" in run._repr_html_()


def test_its_model_is_loaded_as_it_was(run):
    assert str(run.load_model().cfg.dtype) == "torch.float32"
    hf_model, _ = run.load_hf_model()
    assert hf_model.config.model_type == "llama"


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (lambda run: run.random(3), "seeds is 3: give 2 or less random sets, as many as the run"),
        (
            lambda run: run.scores("test"),
            "unknown scores 'test': choose from neuron, control, names",
        ),
        (lambda run: run.evaluation("x"), "unknown evaluation 'x': choose from original, cultur"),
    ],
)
def test_what_a_run_has_not(run, ask, line):
    with pytest.raises(CulnigError, match=line):
        ask(run)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(CulnigError, match="no file .*run.json: check the path"):
        Run.open(tmp_path)
    with pytest.raises(CulnigError, match="holds no finished run: finish it with culnig run --out"):
        Run.for_step(tmp_path)


def test_trust_is_the_callers(run):
    about = json.loads((run.folder / "run.json").read_text())
    assert not run.study.trust_remote_code
    assert not about["arguments"]["trust_remote_code"]
    assert Run.open(run.folder, trust_remote_code=True).study.trust_remote_code


def test_a_step_makes_what_is_not_there(run):
    made = []

    def make():
        made.append(1)
        return pd.DataFrame({"name": ["007"], "count": [3]})

    step = run.step("verify", prompts=2)
    for _ in range(2):
        found = step.frame("table", TABLE, make)
        assert found.to_dict("list") == {"name": ["007"], "count": [3]}
    assert step.text("page.html", lambda: "a") == step.text("page.html", lambda: "b") == "a"
    assert made == [1]
    assert "model" not in vars(step)  # nothing asked for it
    assert json.loads((step.folder / "verify.json").read_text())["prompts"] == 2
    assert "steps: verify" in repr(run)


def test_a_step_is_bound_to_its_arguments(run):
    run.step("methods", context=4)
    with pytest.raises(CulnigError, match="was made with context = 4, this asks for 5: give the s"):
        run.step("methods", context=5)


def test_parts_of_a_step_have_folders_of_their_own(run):
    one, other = (run.step("lm-eval", part=task, limit=n) for n, task in enumerate("ab"))
    assert (one.folder.name, other.folder.name) == ("a", "b")
    assert (other.folder / "arguments.json").exists()


def test_a_step_evaluates_as_the_run_did(run):
    file = run.folder / "methods" / "again.csv"
    asked = run.data.asked
    run.step("methods").evaluation(file, asked, run.neurons)
    own = evaluation_file(run.folder, "culture-general")
    assert file.read_bytes() == own.read_bytes()


def test_an_open_run_is_taken_by_a_step(run):
    assert Run.for_step(run) is run
