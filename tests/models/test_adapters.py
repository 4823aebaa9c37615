"""Folders of adapters alone: merged into their model when it is loaded."""

import json
import sys
import warnings
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from culnig_tl import CulnigError, load_hf_model, load_model, neuron_layout
from culnig_tl.models.loading import load_tokenizer


@pytest.fixture
def base(tmp_path) -> Path:
    return Path(tiny.byte_model(tmp_path / "base"))


@pytest.fixture
def lora(base, tmp_path) -> Path:
    return tiny.lora(base, tmp_path / "lora")


def logits(model):
    with torch.no_grad():
        return model(torch.tensor([[5, 9, 3, 12]])).logits


def test_they_are_merged(base, lora):
    import peft

    loaded, tokenizer = load_hf_model(str(lora))
    plain, _ = load_hf_model(str(base))
    assert type(loaded) is type(plain)
    assert [name for name, _ in loaded.named_parameters() if "lora" in name] == []
    assert (logits(loaded) - logits(plain)).abs().max() > 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        unmerged = peft.PeftModel.from_pretrained(plain, lora)
    assert (logits(loaded) - logits(unmerged)).abs().max() < 1e-5
    assert tokenizer("ab")["input_ids"] == load_tokenizer(str(base))("ab")["input_ids"]
    assert neuron_layout(lora) == neuron_layout(base)


@pytest.mark.model
def test_a_hooked_model_of_them(lora):
    own, _ = load_hf_model(str(lora))
    tokens = torch.tensor([[5, 9, 3, 12]])
    with torch.no_grad():
        found = load_model(str(lora))(tokens).log_softmax(-1)
        assert (found - own(tokens).logits.log_softmax(-1)).abs().max() < 1e-4


def test_a_tokenizer_of_their_own(base, lora):
    mine = load_tokenizer(str(base))
    mine.chat_template = "{{ messages[0]['content'] }}"
    mine.save_pretrained(lora)
    assert load_tokenizer(str(lora)).chat_template == mine.chat_template
    assert load_hf_model(str(lora))[1].chat_template == mine.chat_template


def changed(folder: Path, **changes) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    del tensors[min(tensors)]
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: changed(f, base_model_name_or_path=None), "has no 'base_model_name_or_path'"),
        (lambda f: changed(f, base_model_name_or_path=str(f)), "which holds adapters alone: merge"),
        (lambda f: changed(f, base_model_name_or_path="no/such"), "cannot load model 'no/such'"),
        (lambda f: changed(f, r=3), "its adapters cannot be used; get the folder again"),
        (without_a_tensor, "its adapters cannot be used; .*Found missing adapter keys"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "its adapters cannot be used"),
    ],
)
def test_adapters_that_cannot_be_merged(lora, damage, message):
    damage(lora)
    with pytest.raises(CulnigError, match=message) as caught:
        load_hf_model(str(lora))
    assert "\n" not in str(caught.value)


def test_without_peft(lora, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CulnigError, match="needs the package peft: pip install 'culnig-tl.lora"):
        load_hf_model(str(lora))
