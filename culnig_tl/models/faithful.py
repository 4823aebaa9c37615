"""Whether a hooked model is the model: its logits beside those of the Hugging Face model.

TransformerLens makes a model anew from a configuration that it has in a table or reads, and may
miss a scale, a bias or an adapter without a word. So both answer one short prompt.
"""

import contextlib
import inspect
import math
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Tokens of the prompt, and the last so many positions whose logits are compared.
PROMPT_TOKENS = 32
COMPARED = 8
# Up to which divergence, in nats a token, a difference is rounding. On gemma-3-270m rounding was
# 2e-10 in float32 and 0.017 in bfloat16, an attention scale of 168 in place of 128 was 0.15.
ROUNDING = {
    torch.float64: 1e-6,
    torch.float32: 1e-6,
    torch.float16: 2e-3,
    torch.bfloat16: 0.08,
}


@dataclass(frozen=True)
class Comparison:
    """How far a hooked model's answer to the prompt is from the model's own.

    Attributes:
        divergence: mean Kullback-Leibler divergence from the model's own distribution, in nats a
            token; NaN where the model's own logits overflow, infinite where only the hooked ones
            do.
        largest: the largest difference of a log-probability, in nats, where the model itself
            gives at least a millionth of the probability.
    """

    divergence: float
    largest: float

    def agrees(self, dtype: torch.dtype) -> bool:
        """Whether this is rounding; also where there is nothing to compare."""
        most = ROUNDING.get(dtype, ROUNDING[torch.bfloat16])  # a type of eight bits, say
        return math.isnan(self.divergence) or self.divergence <= most


def probe(config: Any) -> Int[Tensor, "1 pos"]:
    """A short prompt for a model of this configuration: token ids drawn once and for all.

    Ids at random, not a sentence: a tokenizer may know few of its words, and a model whose
    tokens are all alike attends to all alike, whatever its scale.
    """
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None) or PROMPT_TOKENS
    draw = random.Random(0)
    length = max(1, min(PROMPT_TOKENS, positions))
    return torch.tensor([[draw.randrange(text.vocab_size) for _ in range(length)]])


def compared(tokens: Int[Tensor, "1 pos"]) -> Int[Tensor, "kept"]:
    """The positions of the prompt whose logits are compared."""
    length = tokens.shape[1]
    return torch.arange(max(0, length - COMPARED), length)


def own_logits(hf_model: Any, tokens: Int[Tensor, "1 pos"]) -> Float[Tensor, "kept d_vocab"]:
    """What the Hugging Face model itself says at the compared positions."""
    training, device = hf_model.training, hf_model.get_input_embeddings().weight.device
    few = {"logits_to_keep": COMPARED}
    if "logits_to_keep" not in inspect.signature(hf_model.forward).parameters:
        few = {}
    hf_model.eval()
    with torch.no_grad():
        logits = hf_model(input_ids=tokens.to(device), use_cache=False, **few).logits
    hf_model.train(training)
    return logits[0, -COMPARED:].cpu()


def compare_logits(
    hooked: Float[Tensor, "kept d_vocab"], own: Float[Tensor, "kept d_vocab"]
) -> Comparison:
    """The hooked model's logits beside the model's own."""
    if not torch.isfinite(own).any(dim=-1).all() or own.isnan().any():
        return Comparison(math.nan, math.nan)
    if hooked.shape != own.shape or hooked.isnan().any():
        return Comparison(math.inf, math.inf)
    mine, wanted = (x.detach().cpu().double().log_softmax(dim=-1) for x in (hooked, own))
    likely = wanted > math.log(1e-6)
    apart = torch.where(likely, wanted - mine, torch.zeros_like(mine))
    # Over the likely tokens, with what both give to the others as one token more.
    mass = [torch.where(likely, x.exp(), 0.0).sum(dim=-1) for x in (mine, wanted)]
    rest = [(1 - m).clamp(min=1e-12) for m in mass]
    divergence = (wanted.exp() * apart).sum(dim=-1) + rest[1] * (rest[1] / rest[0]).log()
    return Comparison(float(divergence.mean()), float(apart.abs().max()))


@contextlib.contextmanager
def nothing_installed() -> Iterator[None]:
    """Within the `with`, TransformerLens cannot start a program, such as pip.

    For a model that also sees or hears it installs what a processor wants, into the environment
    that it runs in. What is refused here it goes without.
    """
    real = subprocess.check_call

    def refuse(command: Any, *arguments: Any, **options: Any) -> int:
        raise OSError(f"not started while a model is loaded: {command}")

    subprocess.check_call = refuse
    try:
        yield
    finally:
        subprocess.check_call = real
