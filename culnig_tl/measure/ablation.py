"""Interventions: scaling a set of neurons while a model runs, through its own hooks."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from culnig_tl.checks import check_number
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import layout_of
from culnig_tl.neurons.layout import hook_name
from culnig_tl.neurons.sets import NeuronSet, require_same_model


@contextlib.contextmanager
def ablate(
    model: HookedModel, neurons: NeuronSet | None, *, factor: float = 0.0
) -> Iterator[HookedModel]:
    """Multiply the activations of `neurons` by `factor` at every position, within the `with`.

    0 suppresses, 2 enhances (the paper's two interventions), 1 and an empty set change nothing.
    Holds during generation too. The hooks are gone afterwards, an exception included.

    Raises:
        CulnigError: the set is of a model with other neurons, a factor that is no finite number,
            or a hook did not fire although another one did.

    Example:
        `model` is a tiny random one, `neurons` a set of its neurons, and `original` a frame of
        `evaluate` with nothing masked.

        >>> with ablate(model, neurons, factor=0.0):
        ...     inside = evaluate(model, instances)
        >>> after = evaluate(model, instances)
        >>> bool((inside["probability"] != after["probability"]).all())
        True
        >>> bool((original["probability"] == after["probability"]).all())
        True
    """
    check_number("factor", factor)
    hooks = [] if neurons is None else ablation_hooks(model, neurons, factor=factor)
    fired = dict.fromkeys((name for name, _ in hooks), 0)

    def counted(name: str, scale: Any) -> Any:
        def hook_function(activation: Tensor, hook: Any) -> Tensor:
            fired[name] += 1
            return scale(activation, hook)

        return hook_function

    with model.hooks(fwd_hooks=[(name, counted(name, scale)) for name, scale in hooks]):
        yield model
    silent = [name for name, times in fired.items() if not times]
    if silent and len(silent) < len(fired):
        raise CulnigError(
            f"hook {silent[0]} never fired: the model did not run that layer, or its version of "
            "transformer-lens does not call it"
        )


def ablation_hooks(
    model: HookedModel, neurons: NeuronSet, *, factor: float = 0.0
) -> list[tuple[str, Any]]:
    """The (hook name, function) pairs that scale `neurons`, for `run_with_hooks(fwd_hooks=...)`.

    Raises:
        CulnigError: the set is of a model with other neurons.
    """
    check_number("factor", factor)
    require_same_model(neurons, layout_of(model))
    return [
        (hook_name(layer, site), _scaling(neurons.layout.size(site), indices, factor))
        for (layer, site), indices in neurons.by_site().items()
    ]


def _scaling(size: int, indices: np.ndarray, factor: float) -> Any:
    scale = torch.ones(size)
    scale[torch.tensor(indices)] = factor

    def hook_function(activation: Tensor, hook: Any) -> Tensor:
        # Not in place: the activation may be a view of something that is used elsewhere.
        return activation * scale.to(activation).view(activation.shape[2:])

    return hook_function
