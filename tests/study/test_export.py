"""An exported model answers without hooks as the hooked one does with them."""

import numpy as np
import pytest
import tiny
import torch
import transformers
from command import Captured, byte_run, culnig

from culnig_tl import CulnigError, NeuronSet, ablate, load_model, neuron_layout
from culnig_tl.models.description import layout_of
from culnig_tl.models.loading import save_hf_model
from culnig_tl.neurons.layout import Neuron
from culnig_tl.training.weights import scale_weights

TOKENS = torch.randint(2, 40, (2, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.MODELS)
@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_logits_equal_those_under_hooks(tmp_path, kind, model_class, factor):
    model, hf = tiny.model(kind, model_class), tiny.hf_model(kind)
    layout = layout_of(model)
    chosen = [
        Neuron(i % 3, s, x) for s in ("gate", "q", "k", "v") for i, x in enumerate((1, 9, 15))
    ]
    neurons = NeuronSet.of(layout, chosen)
    scale_weights(hf, neurons, factor=factor)
    save_hf_model(hf, tiny.tokenizer(), tmp_path / "scaled")
    # By plain transformers, as anybody would.
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "scaled")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "scaled").pad_token == "<pad>"
    with torch.no_grad():
        found = loaded(TOKENS).logits
        plain = model(TOKENS)
        with ablate(model, neurons, factor=factor):
            expected = model(TOKENS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-3)


def test_biases_are_scaled_too():
    hf = tiny.hf_model("llama", attention_bias=True, mlp_bias=True)
    with torch.no_grad():
        for _, weight in hf.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0)
    chosen = [Neuron(0, "q", 3), Neuron(0, "gate", 5)]
    scale_weights(hf, NeuronSet.of(neuron_layout(hf.config), chosen), factor=0.5)
    block = hf.model.layers[0]
    assert block.self_attn.q_proj.bias.tolist() == [0.5 if i == 3 else 1.0 for i in range(32)]
    assert block.mlp.gate_proj.bias[5] == 0.5
    assert (block.mlp.up_proj.bias == 1).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return byte_run(patch, Captured(), tmp_path_factory.mktemp("run"))


def test_export_of_a_run(monkeypatch, capsys, tmp_path, run):
    to = tmp_path / "x"
    code, printed, error = culnig(monkeypatch, capsys, "export", "--run", run, "--to", to)
    assert code == 0, error
    assert "culture-general" in printed
    exported = load_model(str(to), model_class="TransformerBridge")
    original = load_model(str(run.parent / "tiny"), model_class="TransformerBridge")
    neurons = NeuronSet.load(to / "neurons.json", layout=layout_of(exported))
    with torch.no_grad(), ablate(original, neurons):
        expected = original(TOKENS)
    torch.testing.assert_close(exported(TOKENS), expected, atol=1e-5, rtol=1e-4)


def test_export_does_not_replace_a_folder(monkeypatch, capsys, tmp_path, run):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").write_text("mine")
    code, _, error = culnig(monkeypatch, capsys, "export", "--run", run, "--to", tmp_path / "x")
    assert code == 1
    assert "x is there already: choose another folder, or delete it" in " ".join(error.split())


def test_export_below_a_file(monkeypatch, capsys, run):
    to = run / "run.json" / "x"
    code, _, error = culnig(monkeypatch, capsys, "export", "--run", run, "--to", to)
    assert code == 1
    assert "run.json" in error


def test_export_of_no_run(monkeypatch, capsys, tmp_path):
    to = tmp_path / "y"
    code, _, error = culnig(monkeypatch, capsys, "export", "--run", tmp_path, "--to", to)
    assert code == 1
    assert "holds no finished run" in error


def test_neurons_of_another_model():
    other = NeuronSet(neuron_layout(tiny.config("qwen3")), np.array([1]), "other")
    with pytest.raises(CulnigError, match="neuron set 'other' is of a model with .*this one has"):
        scale_weights(tiny.hf_model("llama"), other)


def test_a_model_that_names_its_parts_in_another_way():
    hf = tiny.hf_model("llama")
    for layer in hf.model.layers:
        layer.mlp.opening_proj = layer.mlp.gate_proj
        del layer.mlp.gate_proj
    neurons = NeuronSet(neuron_layout(tiny.config("llama")), np.array([1]))
    with pytest.raises(
        CulnigError, match="LlamaForCausalLM has neither gate_proj nor gate_up_proj"
    ):
        scale_weights(hf, neurons)


def test_byte_model_reads_any_text(tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.byte_model(tmp_path))
    assert tokenizer.decode(tokenizer("Thé, چای?")["input_ids"]) == "Thé, چای?"
