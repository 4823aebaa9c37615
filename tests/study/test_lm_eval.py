"""lm-evaluation-harness on a run's model, by a task of our own in a local file; no network."""

import functools
import io
import json
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from command import Captured, byte_run, culnig

from culnig_tl import ablate, load_model
from culnig_tl.models.description import tokenizer_of
from culnig_tl.neurons.layout import NeuronLayout
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.study import lm_eval as harness
from culnig_tl.study.arguments import Study
from culnig_tl.study.run import Run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
TASK = """
task: drinks
dataset_path: json
dataset_kwargs:
  data_files: {data}
output_type: multiple_choice
test_split: train
doc_to_text: "{{{{question}}}} Answer:"
doc_to_choice: "{{{{options}}}}"
doc_to_target: answer
metric_list:
  - metric: acc
  - metric: brier_score
"""
DOCUMENTS = [
    {"question": "A drink of Iran?", "options": ["tea", "beer", "sake"], "answer": 0},
    {"question": "A drink of Japan?", "options": ["doogh", "sake", "mate"], "answer": 1},
    {"question": "A drink of Mexico?", "options": ["tea", "doogh", "pulque"], "answer": 2},
    {"question": "A drink of Spain?", "options": ["sake", "sherry", "pulque"], "answer": 1},
]


def brier(model) -> float:
    """The same by our own hooked model: mean squared distance of P(option) from the answer."""
    tokenizer, found = tokenizer_of(model), []
    for document in DOCUMENTS:
        totals = []
        prompt = tokenizer(f"{document['question']} Answer:")["input_ids"]
        for option in document["options"]:
            label = tokenizer(f" {option}")["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([prompt + label])).log_softmax(-1)[0]
            steps = range(len(prompt) - 1, len(prompt) + len(label) - 1)
            totals.append(sum(logits[at, token] for at, token in zip(steps, label, strict=True)))
        probabilities = torch.stack(totals).softmax(0).numpy()
        found.append(((probabilities - np.eye(3)[document["answer"]]) ** 2).sum())
    return float(np.mean(found))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small finished run, beside its model in `tiny` and tasks of our own in `own`."""
    home = tmp_path_factory.mktemp("run")
    own = home / "own"
    own.mkdir()
    data = own / "drinks.json"
    data.write_text("\n".join(map(json.dumps, DOCUMENTS)))
    (own / "drinks.yaml").write_text(TASK.format(data=data))
    (own / "other.yaml").write_text(
        TASK.format(data=own / "none.json").replace("task: drinks", "task: other")
    )
    with pytest.MonkeyPatch.context() as patch:
        # The harness looks at all its tasks for each: once is enough.
        patch.setattr(harness, "_task_manager", functools.cache(harness._task_manager))
        yield byte_run(patch, Captured(), home)


def command(out):
    return ["lm-eval", "--run", out, "--tasks", "drinks", "--include-path", out.parent / "own"]


@pytest.fixture(scope="module")
def evaluated(run):
    """The run with the harness's answers, and what was printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        code, _, _ = culnig(patch, Captured(), *command(run))
    assert code == 0
    return run, said.getvalue()


def test_the_harness_with_scaled_weights_says_what_the_hooked_model_says(evaluated):
    out, printed = evaluated
    assert "brier_score" in printed
    table = pd.read_csv(out / "lm-eval" / "drinks" / "table.csv", index_col=["task", "metric"])
    row = table.loc[("drinks", "brier_score")]
    assert row["items"] == 4
    model = load_model(str(out.parent / "tiny"), model_class="TransformerBridge", device="cpu")
    assert row["original"] == pytest.approx(brier(model), rel=1e-4)
    run = Run.open(out)
    for name, neurons in (("masked", run.neurons), ("random", run.random(1)[0])):
        with ablate(model, neurons):
            assert row[name] == pytest.approx(brier(model), rel=1e-4)
    assert row["masked"] != pytest.approx(row["original"], rel=1e-3)


def test_what_the_harness_answered_is_not_asked_again(monkeypatch, capsys, evaluated):
    out, printed = evaluated
    monkeypatch.setattr("culnig_tl.models.loading.load_hf_model", None)
    code, again, error = culnig(monkeypatch, capsys, *command(out))
    assert code == 0, error
    assert again == printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            ("--limit", 2),
            "drinks was made with limit = None, this asks for 2",
            id="another limit",
        ),
        pytest.param(("--seeds", 0), "seeds is 0: give 1 or more", id="no random set"),
        pytest.param(
            ("--include-path", "no/such/none"), "none: check --include-path", id="no such folder"
        ),
        pytest.param(
            ("--tasks", "nope"),
            "lm-eval has no task 'nope': 'lm-eval ls tasks' lists them",
            id="no such task",
        ),
        pytest.param(
            ("--tasks", "other"),
            "lm-eval cannot run 'other': check its data and its file (",
            id="a task without its data",
        ),
        pytest.param(
            ("--tasks", ""), "no task: give names of lm-eval's tasks with --tasks", id="no task"
        ),
    ],
)
def test_lm_eval_refuses_in_one_line(monkeypatch, capsys, evaluated, arguments, words):
    out, _ = evaluated
    code, _, error = culnig(monkeypatch, capsys, *command(out), *arguments)
    assert code == 1
    assert words in " ".join(error.split())


def one_neuron(folder):
    """As a finished run has it, in an empty folder."""
    neurons = NeuronSet(NeuronLayout(n_layers=1, gate=4, q=1, k=1, v=1), np.array([1]))
    return SimpleNamespace(
        folder=folder, study=Study(), neurons=neurons, random=lambda count: [neurons]
    )


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param({}, "pip install 'culnig-tl[lm-eval]'", id="without the extra"),
        pytest.param(
            {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x"},
            "lm-eval runs in one process: start it without torchrun",
            id="in several processes",
        ),
    ],
)
def test_lm_eval_cannot_run(monkeypatch, capsys, tmp_path, environment, words):
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    monkeypatch.setattr("culnig_tl.study.run.Run.for_step", lambda *a, **k: one_neuron(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, _, error = culnig(monkeypatch, capsys, "lm-eval", "--run", tmp_path, "--tasks", "x")
    assert code == 1
    assert words in error
