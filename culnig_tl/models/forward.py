"""Forward passes: the logits that are needed and no others, and log P of a label."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from culnig_tl.models.batches import flat_positions
from culnig_tl.models.caches import PrefixCache
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.classes import is_native
from culnig_tl.models.hooks import hooked


def kept_logits(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"] | None,
    *,
    keep: Int[Tensor, "kept"],
    cache: PrefixCache | None = None,
) -> Float[Tensor, "kept d_vocab"]:
    """The logits of some positions only; `keep` indexes the flattened [batch * pos].
    Without a mask every token is real. With `cache` the tokens continue what the cache holds, and
    are added to it; `mask` still covers `tokens` only.

    The positions are picked before the unembedding and handed to it as one contiguous 2-D
    tensor: with a vocabulary of 262,144 this halves the cost of a pass, and a 3-D slice through a
    frozen unembedding would take torch's slow batched path.
    """
    pick = ("unembed.hook_in", lambda x, hook: x.flatten(0, 1)[keep.to(x.device)])
    with hooked(model, [pick]):
        return _run(model, tokens, mask, cache=cache)


def kept_residuals(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    *,
    keep: Int[Tensor, "kept"],
    cache: PrefixCache | None = None,
) -> Float[Tensor, "kept d_model"]:
    """What `kept_logits` hands to the unembedding, to be unembedded later (`unembed`)."""
    kept: list[Tensor] = []

    def pick(residual: Tensor, hook: Any) -> Tensor:
        kept.append(residual.flatten(0, 1)[keep.to(residual.device)])
        return kept[0][:0]

    with hooked(model, [("unembed.hook_in", pick)]):
        _run(model, tokens, mask, cache=cache)
    return kept[0]


def _run(
    model: HookedModel, tokens: Tensor, mask: Tensor | None, *, cache: PrefixCache | None
) -> Tensor:
    if cache is not None:
        assert mask is not None
        return cache.run(model, tokens, mask)
    if is_native(model):
        return model(tokens, attention_mask=mask)
    return model(tokens, attention_mask=mask, use_cache=False)  # Hugging Face's default is True


def unembed(
    model: HookedModel, residuals: Float[Tensor, "kept d_model"]
) -> Float[Tensor, "kept d_vocab"]:
    """The logits of `kept_residuals`, possibly of several passes together.

    Runs the model on a single token and puts `residuals` in its place, so that whatever the
    model does to its logits (a soft cap, a scale) is done here too.
    """
    token = torch.zeros(1, 1, dtype=torch.long, device=model.cfg.device)
    with hooked(model, [("unembed.hook_in", lambda x, hook: residuals)]):
        return model(token, attention_mask=torch.ones_like(token))


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, in float32 if it was in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def label_log_probability(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"] | None,
    *,
    labels: Sequence[Sequence[int]],
    ends: Sequence[int] | None = None,
) -> Float[Tensor, "row"]:
    """log P(y|x) by teacher forcing: the sum of the log probabilities of y's tokens.

    `tokens` end with each label's tokens but the last (`Prompt.sequence`), padded on the left;
    or on the right, where `ends` says where each row ends (later tokens never reach earlier ones).
    One row a label: as many as `tokens` has, or as many as a hook widens them to.
    """
    width = tokens.shape[1]
    ends = ends or [width] * len(labels)
    counts = [len(label) for label in labels]
    keep = flat_positions(list(zip(ends, counts, strict=True)), width, tokens.device)
    logits = at_least_float32(kept_logits(model, tokens, mask, keep=keep))
    flat = torch.tensor([token for label in labels for token in label], device=logits.device)
    rows = torch.tensor([i for i, label in enumerate(labels) for _ in label], device=logits.device)
    # One fused pass each way; logsumexp takes several over [kept, d_vocab].
    token_log_probability = -torch.nn.functional.cross_entropy(logits, flat, reduction="none")
    zeros = torch.zeros(len(labels), device=logits.device, dtype=logits.dtype)
    return zeros.index_add(0, rows, token_log_probability)


@contextlib.contextmanager
def frozen(model: HookedModel) -> Iterator[None]:
    """Eval mode, no weight gradients, gradients otherwise on; all as before afterwards."""
    training = model.training
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    model.eval()
    for weight in trainable:
        weight.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield
    finally:
        for weight in trainable:
            weight.requires_grad_(True)
        model.train(training)
