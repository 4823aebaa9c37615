"""The hooked model is the model: settings, adapters, weights; and nothing is installed."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import tiny
import torch
import transformers
from safetensors.torch import load_file, save_file

from culnig_tl import CulnigError, load_model, wrap_model
from culnig_tl.models import faithful
from culnig_tl.models import wrapping as models
from culnig_tl.models.classes import HookedTransformer
from culnig_tl.models.configs import text_model
from culnig_tl.models.description import describe_model

needs_hooked_transformer = pytest.mark.skipif(
    HookedTransformer is None, reason="TransformerLens 4 has no HookedTransformer"
)
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": len(tiny.WORDS),
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 0,
}
LOCAL, GLOBAL = "sliding_attention", "full_attention"
GEMMA = {
    "num_hidden_layers": 6,
    "layer_types": [LOCAL] * 5 + [GLOBAL],
    "sliding_window": 6,  # of 1,024
    "max_position_embeddings": 131072,
    "rope_parameters": {
        LOCAL: {"rope_type": "default", "rope_theta": 1e4},
        GLOBAL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    },
}
# The published settings of the paper's models; only the sizes are small.
PAPER = {
    # query_pre_attn_scalar is head_dim, or 168 for a head_dim of 128.
    "google/gemma-3-12b-it": ("Gemma3TextConfig", {**GEMMA, "query_pre_attn_scalar": 16}),
    "google/gemma-3-27b-it": ("Gemma3TextConfig", {**GEMMA, "query_pre_attn_scalar": 21}),
    "Qwen/Qwen3-14B": (
        "Qwen3Config",
        {
            "num_hidden_layers": 3,
            "max_position_embeddings": 40960,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
    ),
    "meta-llama/Llama-3.1-8B-Instruct": (
        "LlamaConfig",
        {
            "num_hidden_layers": 3,
            "rms_norm_eps": 1e-5,
            "head_dim": 8,
            "max_position_embeddings": 131072,
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
            },
        },
    ),
    "microsoft/phi-4": (
        "Phi3Config",
        {
            "num_hidden_layers": 3,
            "rms_norm_eps": 1e-5,
            "head_dim": 8,
            "max_position_embeddings": 16384,
            "original_max_position_embeddings": 16384,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 2.5e5, "partial_rotary_factor": 1.0,
            },
        },
    ),
    "tiiuae/Falcon3-10B-Instruct": (
        "LlamaConfig",
        {
            "num_hidden_layers": 3,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000042.0},
        },
    ),
}  # fmt: skip
CLASSES = ("HookedTransformer", "TransformerBridge")


def paper_model(name, **changes):
    kind, settings = PAPER[name]
    config = getattr(transformers, kind)(**{**SMALL, **settings, **changes})
    return tiny.random_model(config)


def wrapped(name, hf, model_class="auto", **table):
    """Wrapped under the paper's name; `table` are mistakes in TransformerLens's own settings.

    TransformerLens knows some of these models by heart: its sizes are made those of `hf`.
    """
    if HookedTransformer is None:
        return wrap_model(hf, tiny.tokenizer(), name=name, model_class=model_class, device="cpu")
    from transformer_lens import loading_from_pretrained as loading

    real, config = loading.convert_hf_model_config, hf.config

    def convert(model_name, **options):
        known = real(model_name)
        layers = config.num_hidden_layers
        known |= {
            "d_model": config.hidden_size, "d_head": config.head_dim, "n_layers": layers,
            "n_heads": config.num_attention_heads, "d_mlp": config.intermediate_size,
            "n_key_value_heads": config.num_key_value_heads, "d_vocab": config.vocab_size,
            "n_ctx": 64,
        }  # fmt: skip
        if "rotary_dim" in known:
            known["rotary_dim"] = config.head_dim
        if known.get("attn_types"):
            known |= {"attn_types": known["attn_types"][:layers], "window_size": 6}
        return known | table

    with mock.patch.object(loading, "convert_hf_model_config", convert):
        return wrap_model(hf, tiny.tokenizer(), name=name, model_class=model_class, device="cpu")


@pytest.mark.model
@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize("name", PAPER)
def test_the_papers_models_with_their_settings(name, model_class):
    known = HookedTransformer is not None and "Falcon" not in name
    if model_class == "HookedTransformer" and (not known or "27b" in name):
        message = "differs from the model by" if known else "has no HookedTransformer"
        with pytest.raises(CulnigError, match=message):
            wrapped(name, paper_model(name), model_class)
        return
    model = wrapped(name, paper_model(name), model_class)
    assert type(model).__name__ == model_class
    assert describe_model(model)["comparison"]["largest"] < 1e-4


@pytest.mark.model
def test_auto_takes_the_class_that_agrees():
    name = "google/gemma-3-27b-it"
    model = wrapped(name, paper_model(name))
    assert type(model).__name__ == "TransformerBridge"
    assert describe_model(model)["comparison"]["divergence"] < 1e-9
    name = "google/gemma-3-12b-it"
    expected = "TransformerBridge" if HookedTransformer is None else "HookedTransformer"
    assert type(wrapped(name, paper_model(name))).__name__ == expected


@needs_hooked_transformer
@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("google/gemma-3-12b-it", {"window_size": 12}),
        ("google/gemma-3-12b-it", {"attn_types": ["local"] * 6}),
        ("google/gemma-3-12b-it", {"rotary_base_local": 1000}),
        ("google/gemma-3-12b-it", {"rotary_scaling_factor": 1.0}),
        ("google/gemma-3-12b-it", {"use_attn_scale": False}),
        ("google/gemma-3-12b-it", {"use_qk_norm": False}),
        ("Qwen/Qwen3-14B", {"rotary_base": 10000}),
        ("Qwen/Qwen3-14B", {"act_fn": "gelu"}),
        ("meta-llama/Llama-3.1-8B-Instruct", {"NTK_by_parts_factor": 1.0}),
        ("meta-llama/Llama-3.1-8B-Instruct", {"use_NTK_by_parts_rope": False}),
        ("meta-llama/Llama-3.1-8B-Instruct", {"eps": 1e-2}),
        ("microsoft/phi-4", {"rotary_dim": 4}),
        ("microsoft/phi-4", {"rotary_base": 10000}),
        ("microsoft/phi-4", {"rotary_adjacent_pairs": True}),
    ],
)
def test_a_wrong_setting_is_refused(name, mistake):
    with pytest.raises(CulnigError) as refused:
        wrapped(name, paper_model(name), "HookedTransformer", **mistake)
    text = str(refused.value)
    assert "\n" not in text
    assert text.startswith(f"model {name}: HookedTransformer ")
    assert "try another model_class (--model-class)" in text


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # in peft
@pytest.mark.model
def test_unmerged_adapters_are_not_dropped():
    import peft

    name = "meta-llama/Llama-3.1-8B-Instruct"
    settings = peft.LoraConfig(
        r=4, target_modules=["q_proj", "gate_proj", "v_proj"], init_lora_weights=False
    )
    plain = paper_model(name)
    adapted = peft.get_peft_model(copy.deepcopy(plain), settings)
    tokens = torch.tensor([[5, 9, 3, 12]])
    with torch.no_grad():
        expected = adapted(tokens).logits.log_softmax(-1)
        assert (expected - plain(tokens).logits.log_softmax(-1)).abs().max() > 0.1
    model = wrapped(name, adapted)  # the class that runs the adapters
    assert type(model).__name__ == "TransformerBridge"
    assert (model(tokens).log_softmax(-1) - expected).abs().max() < 1e-4
    if HookedTransformer is not None:
        with pytest.raises(CulnigError, match="and merge its adapters first"):
            wrapped(name, peft.get_peft_model(plain, settings), "HookedTransformer")
        merged = wrapped(name, copy.deepcopy(adapted).merge_and_unload(), "HookedTransformer")
        assert (merged(tokens).log_softmax(-1) - expected).abs().max() < 1e-4


def saved(folder):
    """A folder with a tiny model and its tokenizer; and its weights, to be changed."""
    tiny.hf_model("llama").save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda w: {k: v for k, v in w.items() if ".layers.1." not in k},
            "lacks model.layers.1.input_layernorm.weight and 8 more",
        ),
        (
            lambda w: {k: v for k, v in w.items() if "layers.2.mlp.gate_proj" not in k},
            "lacks model.layers.2.mlp.gate_proj.weight: it is damaged",
        ),
        (lambda w: {k: v for k, v in w.items() if "lm_head" not in k}, "lacks lm_head.weight"),
        (
            lambda w: w | {"model.layers.0.mlp.more.weight": torch.ones(2, 2)},
            "has, beside those of its configuration, model.layers.0.mlp.more.weight",
        ),
        (
            lambda w: w | {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)},
            "beside those of its configuration, model.layers.0.self_attn.q_proj.bias",
        ),
        (
            lambda w: w | {"model.norm.weight": torch.ones(31)},
            "has in another shape",
        ),
    ],
)
def test_weights_that_are_not_those_of_the_configuration(tmp_path, change, words):
    file = saved(tmp_path)
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    with pytest.raises(CulnigError) as refused:
        load_model(str(tmp_path))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def gemma3_multimodal():
    """A Gemma 3 that also sees, small."""
    text = {**SMALL, **GEMMA, "query_pre_attn_scalar": 21}
    config = transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**text),
        vision_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 8, "patch_size": 4,
        },
        mm_tokens_per_image=4, image_token_index=1, boi_token_index=2, eoi_token_index=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in model.model.language_model.parameters():
            if weight.ndim == 2:
                weight.normal_(std=0.15)
    return model


@pytest.mark.model
def test_a_multimodal_gemma_installs_nothing(monkeypatch, tmp_path):
    """`pip` and `uv` first in PATH, and the module: whoever calls them leaves a line."""
    record = tmp_path / "installed"
    for name in ("pip", "uv"):
        stub = tmp_path / name
        stub.write_text(f'#!/bin/sh\necho "{name} $*" >> {record}\n')
        stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("check_call", "run", "call", "check_output", "Popen"):
        monkeypatch.setattr(subprocess, name, lambda *a, **k: record.write_text(f"{a}"))
    monkeypatch.setitem(sys.modules, "torchvision", None)  # as where there is none
    hf = gemma3_multimodal()
    tokens = faithful.probe(hf.config)
    with torch.no_grad():
        expected = hf(tokens).logits
    model = wrap_model(
        hf, tiny.tokenizer(), name="google/gemma-3-4b-it", model_class="TransformerBridge"
    )
    assert not record.exists()
    assert not hasattr(model, "vision_encoder")
    assert (model(tokens) - expected).abs().max() < 1e-4
    # Also where TransformerLens would still want a processor.
    monkeypatch.setattr(models, "text_model", lambda hf_model: hf_model)
    wrap_model(
        gemma3_multimodal(),
        tiny.tokenizer(),
        name="google/gemma-3-4b-it",
        model_class="TransformerBridge",
    )
    assert not record.exists()


def test_the_language_model_alone():
    hf = gemma3_multimodal()
    alone = text_model(hf)
    assert type(alone).__name__ == "Gemma3ForCausalLM"
    assert alone.model is hf.model.language_model
    assert alone.lm_head is hf.lm_head
    assert text_model(alone) is alone


@pytest.mark.model
@pytest.mark.parametrize(("kind", "model_class"), tiny.MODELS)
def test_there_is_one_copy_of_the_weights(kind, model_class):
    """What both hold together is what the model holds, but for what a sum or a scale made new.

    HookedTransformer also has biases of 0 where the model has none.
    """
    hf = tiny.hf_model(kind, vocab_size=400)
    alone = storage(hf)
    size = sum(alone.values())
    model = tiny.model(kind, model_class, hf=hf)
    more = {address: bytes for address, bytes in storage(hf, model).items() if address not in alone}
    split = 0
    if kind == "phi3" and model_class == "TransformerBridge":  # it splits joint matrices
        split = sum(w.nbytes for n, w in hf.named_parameters() if "qkv" in n or "gate_up" in n)
    largest = max(more.values(), default=0)
    assert largest <= max(split, hf.get_input_embeddings().weight.nbytes)
    assert sum(more.values()) <= split + 0.1 * size
    # A weight that is changed is changed for both.
    with torch.no_grad():
        hf.get_output_embeddings().weight.zero_()
    assert model(torch.tensor([[3, 4]])).abs().max() == 0


def storage(*held):
    return {
        weight.untyped_storage().data_ptr(): weight.untyped_storage().nbytes()
        for model in held
        for weight in model.parameters()
    }


@pytest.mark.model
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("kind", "model_class"), tiny.FEWER_MODELS)
def test_rounding_is_no_difference(kind, model_class, dtype):
    model = tiny.model(kind, model_class, hf=tiny.hf_model(kind).to(dtype))
    found = describe_model(model)["comparison"]
    assert found["divergence"] < faithful.ROUNDING[dtype] / 2
    json.dumps(describe_model(model))


def test_comparison_by_hand():
    own = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]).log()
    same = faithful.compare_logits(own + 3.0, own)
    assert (same.divergence, same.largest) == pytest.approx((0, 0), abs=1e-6)
    other = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]).log()
    found = faithful.compare_logits(other, own)
    # First row: 0.5 ln 2 - 0.25 ln 2; the second is the same.
    assert found.divergence == pytest.approx(0.25 * 0.6931 / 2, rel=1e-3)
    assert found.largest == pytest.approx(0.6931, rel=1e-3)
    assert not found.agrees(torch.float32)
    assert not faithful.compare_logits(own * float("nan"), own).agrees(torch.bfloat16)
    assert faithful.compare_logits(own, own * float("nan")).agrees(torch.float32)


def test_a_class_that_cannot_be_made_is_one_line():
    hf = tiny.hf_model("llama")
    with (
        mock.patch.object(models, "_bridge", side_effect=KeyError("layers")),
        pytest.raises(CulnigError, match="model x: TransformerBridge cannot be made of it"),
    ):
        wrap_model(hf, tiny.tokenizer(), name="x", model_class="TransformerBridge")


def test_a_model_that_cannot_answer_is_one_line():
    hf = tiny.hf_model("llama")
    with (
        mock.patch.object(type(hf), "forward", side_effect=RuntimeError("two\nlines")),
        pytest.raises(CulnigError, match="does not answer a prompt of 32 tokens .*two lines"),
    ):
        wrap_model(hf, tiny.tokenizer(), name="x", model_class="TransformerBridge")


def test_loading_compares_too(tmp_path):
    saved(tmp_path)
    model = load_model(str(tmp_path))
    assert describe_model(model)["comparison"]["largest"] < 1e-5
    assert Path(describe_model(model)["name"]) == tmp_path
