"""lm-evaluation-harness on a run's model, by a task of our own in a local file; no network."""

import functools
import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from command import byte_run, culnig

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


def test_lm_eval_of_a_run(monkeypatch, capsys, tmp_path):
    out = byte_run(monkeypatch, capsys, tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    data = own / "drinks.json"
    data.write_text("\n".join(map(json.dumps, DOCUMENTS)))
    (own / "drinks.yaml").write_text(TASK.format(data=data))
    (own / "other.yaml").write_text(
        TASK.format(data=own / "none.json").replace("task: drinks", "task: other")
    )
    monkeypatch.setattr(harness, "_task_manager", functools.cache(harness._task_manager))
    command = ["lm-eval", "--run", out, "--tasks", "drinks", "--include-path", own]
    code, printed, error = culnig(monkeypatch, capsys, *command)
    assert code == 0, error
    assert "brier_score" in printed
    table = pd.read_csv(out / "lm-eval" / "drinks" / "table.csv", index_col=["task", "metric"])
    row = table.loc[("drinks", "brier_score")]
    assert row["items"] == 4
    # The harness with scaled weights says what the hooked model says.
    model = load_model(str(tmp_path / "tiny"), model_class="TransformerBridge", device="cpu")
    assert row["original"] == pytest.approx(brier(model), rel=1e-4)
    run = Run.open(out)
    for name, neurons in (("masked", run.neurons), ("random", run.random(1)[0])):
        with ablate(model, neurons):
            assert row[name] == pytest.approx(brier(model), rel=1e-4)
    assert row["masked"] != pytest.approx(row["original"], rel=1e-3)
    # What is there is not done again.
    with monkeypatch.context() as patch:
        patch.setattr("culnig_tl.models.loading.load_hf_model", None)
        code, again, error = culnig(patch, capsys, *command)
    assert code == 0, error
    assert again == printed
    for arguments, words in (
        (("--limit", 2), "drinks was made with limit = None, this asks for 2"),
        (("--seeds", 0), "seeds is 0: give 1 or more"),
        (("--include-path", tmp_path / "none"), "none: check --include-path"),
        (("--tasks", "nope"), "lm-eval has no task 'nope': 'lm-eval ls tasks' lists them"),
        (("--tasks", "other"), "lm-eval cannot run 'other': check its data and its file ("),
        (("--tasks", ""), "no task: give names of lm-eval's tasks with --tasks"),
    ):
        code, _, error = culnig(monkeypatch, capsys, *command, *arguments)
        assert code == 1
        assert words in " ".join(error.split())


def test_without_the_extra(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    neurons = NeuronSet(NeuronLayout(n_layers=1, gate=4, q=1, k=1, v=1), np.array([1]))
    run = SimpleNamespace(
        folder=tmp_path, study=Study(), neurons=neurons, random=lambda count: [neurons]
    )
    monkeypatch.setattr("culnig_tl.study.run.Run.for_step", lambda *a, **k: run)
    code, _, error = culnig(monkeypatch, capsys, "lm-eval", "--run", tmp_path, "--tasks", "x")
    assert code == 1
    assert "pip install 'culnig-tl[lm-eval]'" in error
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}.items():
        monkeypatch.setenv(name, value)
    code, _, error = culnig(monkeypatch, capsys, "lm-eval", "--run", tmp_path, "--tasks", "x")
    assert code == 1
    assert "lm-eval runs in one process: start it without torchrun" in error
