"""Keys and values of prompts, which their continuations share."""

import copy
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import torch
import transformers
from jaxtyping import Int
from torch import Tensor

from culnig_tl.models.choices import HookedModel
from culnig_tl.models.classes import is_native

# The tokens before those of the pass that runs: [batch, pos], or None where all run.
_BEFORE: ContextVar[Tensor | None] = ContextVar("before", default=None)


def whole_tokens(tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch all"]:
    """Within a pass: its tokens, behind those that a `PrefixCache` holds."""
    before = _BEFORE.get()
    return tokens if before is None else torch.cat([before.to(tokens.device), tokens], dim=1)


class PrefixCache:
    """Keys and values of a batch of prompts, shared by the continuations of each.

    The one place where the two classes' caches differ: TransformerLens's own for
    `HookedTransformer`, transformers' for `TransformerBridge`.
    """

    def __init__(self, model: HookedModel, batch: int) -> None:
        self._native = is_native(model)
        self._mask: Tensor | None = None
        self._tokens: Tensor | None = None
        if self._native:
            from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

            self._cache: Any = TransformerLensKeyValueCache.init_cache(
                model.cfg, model.cfg.device, batch
            )
        else:
            self._cache = transformers.DynamicCache()

    def run(self, model: HookedModel, tokens: Tensor, mask: Tensor) -> Tensor:
        """Run `tokens` after what is cached; they are cached too."""
        before = _BEFORE.set(self._tokens)
        try:
            self._tokens = whole_tokens(tokens)
            if self._native:
                return model(tokens, attention_mask=mask, past_kv_cache=self._cache)
            self._mask = mask if self._mask is None else torch.cat([self._mask, mask], dim=1)
            return model(
                tokens, attention_mask=self._mask, past_key_values=self._cache, use_cache=True
            )
        finally:
            _BEFORE.reset(before)

    def take(self, rows: Int[Tensor, "rows"]) -> "PrefixCache":
        """A cache of these rows of the batch, in this order, repeated where `rows` repeats."""
        taken = copy.copy(self)
        assert self._tokens is not None
        taken._tokens = self._tokens[rows.to(self._tokens.device)]
        if self._native:
            taken._cache = copy.copy(self._cache)
            taken._cache.entries = [
                replace(
                    entry,
                    past_keys=entry.past_keys[rows.to(entry.past_keys.device)],
                    past_values=entry.past_values[rows.to(entry.past_values.device)],
                )
                for entry in self._cache.entries
            ]
            taken._cache.previous_attention_mask = self._cache.previous_attention_mask[rows]
        else:
            assert self._mask is not None
            taken._mask = self._mask[rows]
            taken._cache = transformers.DynamicCache()
            for number, layer in enumerate(self._cache.layers):
                at = rows.to(layer.keys.device)
                taken._cache.update(layer.keys[at], layer.values[at], number)
        return taken
