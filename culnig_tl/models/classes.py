"""The two classes of hooked models: `HookedTransformer` and `TransformerBridge`."""

from typing import Any

import transformer_lens

from culnig_tl.models.choices import HookedModel

try:
    HookedTransformer: Any = transformer_lens.HookedTransformer
except (AttributeError, ImportError):  # gone since TransformerLens 4
    HookedTransformer = None


def is_native(model: HookedModel) -> bool:
    """Whether it is a HookedTransformer, and not a bridge."""
    return HookedTransformer is not None and isinstance(model, HookedTransformer)
