"""Interventions: what a set of neurons does is changed while a model runs, by its own hooks."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from culnig_tl.checks import check_choice, check_number
from culnig_tl.errors import CulnigError
from culnig_tl.measure.reference import Reference
from culnig_tl.models.caches import whole_tokens
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import layout_of
from culnig_tl.models.hooks import hooked
from culnig_tl.neurons.estimates import VALUES, Values
from culnig_tl.neurons.layout import Site, hook_name
from culnig_tl.neurons.sets import NeuronSet, require_same_model


@contextlib.contextmanager
def ablate(
    model: HookedModel,
    neurons: NeuronSet | None,
    *,
    factor: float = 0.0,
    values: Values = "zero",
    reference: Reference | None = None,
) -> Iterator[HookedModel]:
    """Multiply the activations of `neurons` by `factor` at every position, within the `with`; or
    put others in their place.

    0 suppresses, 2 enhances (the paper's two interventions), 1 and an empty set change nothing.
    Holds during generation too. The hooks are gone afterwards, an exception included.

    Args:
        values: `zero`: by `factor`, as above. `mean`: their mean over the positions of the
            reference prompts. `resample`: at each position what they do together at some position
            of a reference prompt. The beginning-of-text token keeps its own with both.
        reference: from `reference_activations`; needed by `mean` and `resample`.

    Raises:
        CulnigError: the set or the reference is of a model with other neurons, a factor that is
            no finite number or stands beside `mean` or `resample`, unknown values, no reference,
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
    check_choice("values", values, VALUES)
    seen: list[Tensor] = []
    if values == "zero":
        hooks = [] if neurons is None else ablation_hooks(model, neurons, factor=factor)
    else:
        hooks = _replacing(
            model, neurons, values=values, seen=seen, factor=factor, reference=reference
        )
    fired = dict.fromkeys((name for name, _ in hooks), 0)

    def counted(name: str, change: Any) -> Any:
        def hook_function(activation: Tensor, hook: Any) -> Tensor:
            fired[name] += 1
            return change(activation, hook)

        return hook_function

    def see(module: Any, given: tuple[Tensor, ...]) -> None:
        assert reference is not None
        count = given[0].shape[1]
        tokens = whole_tokens(given[0])
        seen[:] = [reference.own(tokens)[:, -count:], reference.rows_of(tokens)[:, -count:]]

    with contextlib.ExitStack() as stack:
        if values != "zero":
            stack.callback(model.embed.register_forward_pre_hook(see).remove)
        changes = [(name, counted(name, change)) for name, change in hooks]
        stack.enter_context(hooked(model, changes))
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


def _replacing(
    model: HookedModel,
    neurons: NeuronSet | None,
    *,
    values: Values,
    seen: list[Tensor],
    factor: float,
    reference: Reference | None,
) -> list[tuple[str, Any]]:
    """The (hook name, function) pairs that put the reference's values in place.

    `seen` holds what `Reference` says of the tokens of the pass that runs.
    """
    if factor:
        raise CulnigError(f"factor {factor} beside values {values!r}: give one of them")
    if reference is None:
        raise CulnigError(
            f"values {values!r} need a reference: give reference=reference_activations(model, "
            "instances)"
        )
    require_same_model(
        reference,
        layout_of(model),
        what="the reference is of a model with",
        remedy="make it with this model",
    )
    if neurons is None:
        return []
    require_same_model(neurons, layout_of(model))

    def replacing(key: tuple[int, Site], indices: np.ndarray) -> Any:
        index = torch.tensor(indices)
        mean, drawn = reference.mean[key][index], reference.drawn[key][:, index]

        def hook_function(activation: Tensor, hook: Any) -> Tensor:
            own, rows = seen
            flat = activation.flatten(2).clone()
            if values == "mean":
                new = mean.to(flat).expand(*flat.shape[:2], -1)
            else:
                new = drawn.to(flat)[rows.to(flat.device)]
            kept = own.to(flat.device)[:, :, None]
            flat[:, :, index] = torch.where(kept, flat[:, :, index], new)
            return flat.view(activation.shape)

        return hook_function

    return [
        (hook_name(*key), replacing(key, indices)) for key, indices in neurons.by_site().items()
    ]
