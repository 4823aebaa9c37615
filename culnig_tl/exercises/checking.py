"""How an exercise says what is wrong: what was returned, what was expected, and a hint."""

import math
from collections.abc import Callable
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import layout_of
from culnig_tl.neurons.layout import Neuron
from culnig_tl.neurons.sets import NeuronSet

NEAR = 1e-4  # relative; what the same sum in another order differs by is far below


class NotYet(CulnigError):
    """An exercise that is not solved: what was returned, what was expected, and a hint."""


def gates_of(model: HookedModel, layer: int) -> NeuronSet:
    """All gate neurons of a layer."""
    layout = layout_of(model)
    return NeuronSet.of(layout, [Neuron(layer, "gate", index) for index in range(layout.gate)])


def called(call: Callable[[], Any]) -> Any:
    """What a student's function returns."""
    try:
        found = call()
    except NotImplementedError as error:
        raise NotYet(f"{error or 'it is not written yet'}") from error
    if found is None:
        raise NotYet("your function returned nothing: end it with return")
    return found


def number(what: str, value: Any) -> float:
    """It as one number, or what it is instead."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise NotYet(f"{what} is {type(value).__name__}, expected one number") from error


def compare_numbers(
    what: str, found: float, expected: float, *, hints: dict[float, str], otherwise: str
) -> None:
    """Refuse another number; the hint is that of the mistake that gives it."""
    if math.isclose(found, expected, rel_tol=NEAR):
        return
    close = (text for value, text in hints.items() if math.isclose(found, value, rel_tol=NEAR))
    raise NotYet(f"{what} is {found:.4g}, expected {expected:.4g}: {next(close, otherwise)}")
