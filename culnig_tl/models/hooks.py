"""Hooks on a hooked model, for as long as a `with` lasts."""

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from culnig_tl.models.choices import HookedModel

# By model: what its hooks are called, aliases included.
_POINTS: "weakref.WeakKeyDictionary[Any, Mapping[str, Any]]" = weakref.WeakKeyDictionary()

Hooks = Sequence[tuple[str, Callable[..., Any]]]


@contextlib.contextmanager
def hooked(
    model: HookedModel, fwd_hooks: Hooks = (), *, bwd_hooks: Hooks = ()
) -> Iterator[HookedModel]:
    """Within the `with`, the model runs these hooks: what `model.hooks` does, but for names.

    `TransformerBridge.hooks` of TransformerLens 3.9 lists all hooks of all layers anew for every
    hook that it adds, which on a model of 48 layers takes longer than the pass itself. Here the
    names are listed once for a model. A hook's function is called once, whatever the hook is
    called.

    Args:
        fwd_hooks, bwd_hooks: a name, and `function(activation or gradient, hook)`.

    Raises:
        KeyError: the model has no hook of that name.

    Example:
        `model` is a tiny random one.

        >>> import torch
        >>> shapes = []
        >>> with hooked(model, [("blocks.0.mlp.hook_pre", lambda x, hook: shapes.append(x.shape))]):
        ...     logits = model(torch.tensor([[1, 2, 3]]))
        >>> shapes
        [torch.Size([1, 3, 48])]
    """
    points = _POINTS.get(model)
    if points is None:
        points = _POINTS[model] = dict(model.hook_dict)
    level = model.context_level + 1
    added: list[tuple[Any, Any]] = []
    try:
        model.context_level = level
        directions: tuple[tuple[Any, Hooks], ...] = (("fwd", fwd_hooks), ("bwd", bwd_hooks))
        for direction, hooks in directions:
            for name, function in hooks:
                points[name].add_hook(function, dir=direction, level=level)
                added.append((points[name], direction))
        yield model
    finally:
        for point, direction in added:
            point.remove_hooks(dir=direction, level=level)
        model.context_level = level - 1
