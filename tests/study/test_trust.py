"""Code that comes with a model is run if this call trusts it; no file can say so."""

import json

import pytest
import tiny
import torch
from command import byte_run, culnig

from culnig_tl import CulnigError, load_model, neuron_layout
from culnig_tl.models.configs import read_config
from culnig_tl.study.folder import study_of

EVIL = """
from pathlib import Path
Path({marker!r}).write_text("run")
from transformers import LlamaConfig, LlamaForCausalLM
class Config(LlamaConfig):
    model_type = "strange"
class Model(LlamaForCausalLM):
    config_class = Config
"""


def with_code(folder, marker, kind="strange"):
    """The byte model, with code of its own that leaves a mark when it is run."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": kind, "architectures": ["Model"]}
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))


STEPS = (
    ("verify", "--prompts", 1),
    ("modules",),
    ("precision", "--dtypes", "bfloat16"),
    ("export", "--to", "x"),
    ("finetune", "--task", "paraphrase", "--test-limit", 4),
)


def test_a_run_of_somebody_else(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    out, marker = byte_run(monkeypatch, capsys, tmp_path), tmp_path / "marker"
    with_code(tmp_path / "tiny", marker)
    run = json.loads((out / "run.json").read_text())
    run["arguments"]["trust_remote_code"] = True
    del run["model"]["weights"]  # or the other files of the model would be noticed first
    (out / "run.json").write_text(json.dumps(run))
    assert study_of(out).trust_remote_code is False
    assert study_of(out, trust_remote_code=True).trust_remote_code is True
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    model, small = tmp_path / "tiny", ("--limit", 2, "--format", "cloze")
    commands = [(command[0], "--run", out, *command[1:]) for command in STEPS]
    commands += [
        ("report", "--run", out),
        ("models", model),
        ("plan", "--model", model),
        ("score", "--model", model, "--out", "s", *small),
        ("evaluate", "--model", model, *small),
        ("run", "--model", model, "--out", "new", *small),
    ]
    for command in commands:
        code, _, error = culnig(monkeypatch, capsys, *command)
        assert not marker.exists(), command
        if command[0] != "report":  # it loads no model
            assert code == 1, command
            assert "pass trust_remote_code (--trust-remote-code)" in error
    code, _, error = culnig(monkeypatch, capsys, "models", model, "--trust-remote-code")
    assert code == 0, error
    assert marker.exists()


def test_functions_ask_nobody(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    folder, marker = tiny.byte_model(tmp_path / "tiny"), tmp_path / "marker"
    with_code(folder, marker)
    for call in (read_config, neuron_layout, load_model):
        with pytest.raises(CulnigError, match="--trust-remote-code"):
            call(str(folder))
    with_code(folder, marker, "llama")  # of which transformers has code itself
    load_model(str(folder))
    assert neuron_layout(str(folder)).n_layers == 3
    assert not marker.exists()


class _Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickled_weights_run_nothing(tmp_path):
    folder, marker = tiny.byte_model(tmp_path / "tiny"), tmp_path / "marker"
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": _Opens(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(Exception):  # noqa: B017, PT011 (whose words are transformers')
        load_model(str(folder))
    assert not marker.exists()
