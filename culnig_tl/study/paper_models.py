"""The paper's six models as configurations: dimensions only, no weights, no network.

Source: the models' published configurations; they give the neuron counts of Table 12
(arXiv 2510.08284).
"""

from typing import Any

from transformers import Gemma3TextConfig, LlamaConfig, Phi3Config, Qwen3Config


def _config(
    kind: Any,
    layers: int,
    width: int,
    *,
    mlp: int,
    heads: int,
    key_heads: int,
    d_head: int,
    vocabulary: int,
) -> Any:
    # Special tokens out of range of a default vocabulary would only warn: none are needed.
    return kind(
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=mlp,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=d_head,
        vocab_size=vocabulary,
        tie_word_embeddings=kind is Gemma3TextConfig,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )


PAPER_MODELS: dict[str, Any] = {
    "google/gemma-3-12b-it": _config(
        Gemma3TextConfig, 48, 3840, mlp=15360, heads=16, key_heads=8, d_head=256, vocabulary=262208
    ),
    "google/gemma-3-27b-it": _config(
        Gemma3TextConfig, 62, 5376, mlp=21504, heads=32, key_heads=16, d_head=128, vocabulary=262208
    ),
    "Qwen/Qwen3-14B": _config(
        Qwen3Config, 40, 5120, mlp=17408, heads=40, key_heads=8, d_head=128, vocabulary=151936
    ),
    "meta-llama/Llama-3.1-8B-Instruct": _config(
        LlamaConfig, 32, 4096, mlp=14336, heads=32, key_heads=8, d_head=128, vocabulary=128256
    ),
    "microsoft/phi-4": _config(
        Phi3Config, 40, 5120, mlp=17920, heads=40, key_heads=10, d_head=128, vocabulary=100352
    ),
    "tiiuae/Falcon3-10B-Instruct": _config(
        LlamaConfig, 40, 3072, mlp=23040, heads=12, key_heads=4, d_head=256, vocabulary=131072
    ),
}
