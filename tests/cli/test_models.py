"""`culnig models NAME`: what is known of a model in one table, or one line that says what to do."""

import json
from pathlib import Path

import pytest
import tiny
from command import culnig

from culnig_tl import load_model
from culnig_tl.models.description import layout_of
from culnig_tl.study import plan


def rows(printed: str) -> dict[str, str]:
    """The table by its first column; of a cell of several lines the first."""
    found = {}
    for line in printed.splitlines():
        head, _, value = line.strip().partition("  ")
        found.setdefault(head, value.strip())
    return found


@pytest.fixture
def folder(tmp_path, capsys) -> Path:
    made = Path(tiny.byte_model(tmp_path / "tiny"))
    capsys.readouterr()  # transformers' progress
    return made


def test_a_folder(monkeypatch, capsys, caplog, folder):
    monkeypatch.setattr(plan, "MEASURED_SECONDS", 0.0)
    code, out, error = culnig(monkeypatch, capsys, "models", folder)
    assert code == 0, error
    found = rows(out)
    layout = layout_of(load_model(str(folder)))
    assert found["neurons"] == f"{layout.total:,}"
    assert found["gate neurons"] == f"{layout.counts()['gate']:,}"
    assert found["class"] == "TransformerBridge"
    assert found["chat template"] == "no"
    assert found["answer format"] == "cloze"
    assert found["longest prompt"] == "1,024 tokens"
    assert found["time of the demo here"] not in ("", "-", "not measured")
    assert "measuring the speed of this machine: up to a minute" in caplog.text
    assert f"measured just now in float32 on 3 of 3 layers of {folder}" in out


def test_without_measuring(monkeypatch, capsys, folder):
    code, out, error = culnig(monkeypatch, capsys, "models", folder, "--no-measure")
    assert (code, error) == (0, "")
    assert rows(out)["time of the demo here"] == "not measured"


def test_adapters(monkeypatch, capsys, folder, tmp_path):
    lora = tiny.lora(folder, tmp_path / "lora")
    capsys.readouterr()
    code, out, error = culnig(monkeypatch, capsys, "models", lora, "--no-measure")
    assert code == 0, error
    assert rows(out)["adapters"] == f"of {folder}, merged when loaded"
    assert rows(out)["neurons"] == f"{layout_of(load_model(str(lora))).total:,}"


def test_a_model_of_the_paper(monkeypatch, capsys):
    name = "google/gemma-3-12b-it"
    code, out, error = culnig(monkeypatch, capsys, "models", name, "--no-measure")
    assert code == 0, error
    assert rows(out)["gate neurons"] == "737,280"
    assert rows(out)["answer format"] == "not known: no tokenizer at hand"
    assert rows(out)["on the Hub"].startswith(
        f"gated: accept its terms at https://huggingface.co/{name}"
    )


def experts(folder):
    tiny.config("mixtral").save_pretrained(folder)


def not_gated(folder):
    tiny.config("gpt2").save_pretrained(folder)


def no_model(folder):
    (folder / "config.json").unlink()


def no_json(folder):
    (folder / "config.json").write_text("{")


def no_type(folder):
    (folder / "config.json").write_text(json.dumps({"hidden_size": 32}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (experts, "it is a mixture of experts (num_experts); choose a model with a gated MLP"),
        (not_gated, "has no gate site: its configuration has no intermediate_size; choose a"),
        (no_model, "has no config.json: give the folder of a Hugging Face model"),
        (no_json, "is not valid JSON"),
        (no_type, "its config.json cannot be used; get the folder again"),
    ],
)
def test_folders_that_are_refused(monkeypatch, capsys, folder, change, words):
    change(folder)
    code, out, error = culnig(monkeypatch, capsys, "models", folder)
    assert (code, out) == (1, "")
    assert error.count("culnig: ") == 1
    assert "Traceback" not in error
    assert words in error


def test_an_unknown_name(monkeypatch, capsys):
    code, out, error = culnig(monkeypatch, capsys, "models", "nope/nope")
    assert (code, out) == (1, "")
    assert error.startswith("culnig: cannot load model 'nope/nope': check the network, or use a")
