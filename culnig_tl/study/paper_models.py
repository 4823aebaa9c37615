"""The paper's six models: dimensions only, no weights, no network.

Source: the models' published configurations; they give the neuron counts of Table 12
(arXiv 2510.08284).
"""

from dataclasses import dataclass
from typing import Any

from culnig_tl.neurons.layout import NeuronLayout


@dataclass(frozen=True)
class PaperModel:
    """The dimensions of a model.

    Attributes:
        kind: its configuration's class in transformers.
        gated: whether its files on the Hub are only for those who have accepted its terms.
    """

    kind: str
    layers: int
    width: int
    mlp: int
    heads: int
    key_heads: int
    d_head: int
    vocabulary: int
    positions: int
    gated: bool = False

    @property
    def layout(self) -> NeuronLayout:
        """How many neurons each site has."""
        keys = self.key_heads * self.d_head
        queries = self.heads * self.d_head
        return NeuronLayout(n_layers=self.layers, gate=self.mlp, q=queries, k=keys, v=keys)

    def config(self) -> Any:
        """The Hugging Face configuration."""
        import transformers

        # Special tokens out of range of a default vocabulary would only warn: none are needed.
        return getattr(transformers, self.kind)(
            num_hidden_layers=self.layers,
            hidden_size=self.width,
            intermediate_size=self.mlp,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            head_dim=self.d_head,
            vocab_size=self.vocabulary,
            max_position_embeddings=self.positions,
            tie_word_embeddings=self.kind == "Gemma3TextConfig",
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )


PAPER_MODELS = {
    "google/gemma-3-12b-it": PaperModel(
        "Gemma3TextConfig",
        layers=48,
        width=3840,
        mlp=15360,
        heads=16,
        key_heads=8,
        d_head=256,
        vocabulary=262208,
        positions=131072,
        gated=True,
    ),
    "google/gemma-3-27b-it": PaperModel(
        "Gemma3TextConfig",
        layers=62,
        width=5376,
        mlp=21504,
        heads=32,
        key_heads=16,
        d_head=128,
        vocabulary=262208,
        positions=131072,
        gated=True,
    ),
    "Qwen/Qwen3-14B": PaperModel(
        "Qwen3Config",
        layers=40,
        width=5120,
        mlp=17408,
        heads=40,
        key_heads=8,
        d_head=128,
        vocabulary=151936,
        positions=40960,
    ),
    "meta-llama/Llama-3.1-8B-Instruct": PaperModel(
        "LlamaConfig",
        layers=32,
        width=4096,
        mlp=14336,
        heads=32,
        key_heads=8,
        d_head=128,
        vocabulary=128256,
        positions=131072,
        gated=True,
    ),
    "microsoft/phi-4": PaperModel(
        "Phi3Config",
        layers=40,
        width=5120,
        mlp=17920,
        heads=40,
        key_heads=10,
        d_head=128,
        vocabulary=100352,
        positions=16384,
    ),
    "tiiuae/Falcon3-10B-Instruct": PaperModel(
        "LlamaConfig",
        layers=40,
        width=3072,
        mlp=23040,
        heads=12,
        key_heads=4,
        d_head=256,
        vocabulary=131072,
        positions=32768,
    ),
}


def config_of(name: str, *, trust_remote_code: bool = False) -> Any:
    """The language model's configuration of a model by name: the paper's six need no network.

    Raises:
        CulnigError: as `read_config`.
    """
    if name in PAPER_MODELS:
        return PAPER_MODELS[name].config()
    from culnig_tl.models.configs import read_config

    return read_config(name, trust_remote_code=trust_remote_code)
