"""The checks of the exercises, one a function that a student writes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from culnig_tl.analysis.comparison import compare
from culnig_tl.errors import CulnigError
from culnig_tl.measure.effects import exact_effects
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.measure.taylor import position_scores
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import layout_of
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.neurons import selection
from culnig_tl.neurons.layout import Neuron
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks.instances import Instance

NEAR = 1e-4  # relative; what the same sum in another order differs by is far below
# A gradient's last digits depend on how the passes are cut; mistakes are as large as itself.
NEAR_GRADIENT = 0.01


class NotYet(CulnigError):
    """An exercise that is not solved: what was returned, what was expected, and a hint."""


def prompt_of(model: HookedModel, instance: Instance) -> Prompt:
    """The question as tokens: `prompt.tokens`, and `prompt.label`, the tokens of the answer.

    Example:
        `model` is a tiny random one.

        >>> prompt = prompt_of(model, instances[0])
        >>> len(prompt.sequence) == len(prompt.tokens) + len(prompt.label) - 1
        True
    """
    return model_prompts(model, [instance], answer_format="cloze")[0]


def answer_probability(
    model: HookedModel, prompt: Prompt, yours: Callable[[HookedModel, Prompt], float]
) -> str:
    """Exercise: P(answer | question), from the logits.

    Args:
        yours: takes the model and a prompt (`prompt_of`), gives a float.

    Raises:
        NotYet: it gives something else.

    Example:
        `model` is a tiny random one.

        >>> answer_probability(model, prompt_of(model, instances[0]), lambda model, prompt: 2.0)
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: P(y|x) is 2, ...
    """
    expected = _probability(model, prompt)
    found = _number("P(y|x)", _called(lambda: yours(model, prompt)))
    length = len(prompt.label)
    hints = {
        math.log(expected): "that is its logarithm: take exp",
        expected ** (1 / length): "that is the mean per token: multiply the tokens' probabilities",
        math.log(expected) / length: "that is the mean logarithm: sum the logs, then take exp",
    }
    if found > 1:
        hints[found] = "a probability is at most 1: is there a softmax over the vocabulary?"
    otherwise = (
        "each token of the answer is predicted at the position before it: the first one by the "
        "last token of the question"
    )
    _compare("P(y|x)", found, expected, hints=hints, otherwise=otherwise)
    return f"Right: P(y|x) = {expected:.3g}, as the package has it."


def ablate_one(
    model: HookedModel,
    prompt: Prompt,
    yours: Callable[[HookedModel, Prompt, Neuron], float],
    *,
    neuron: Neuron | tuple[int, str, int],
) -> str:
    """Exercise: P(answer | question) with one neuron set to 0 at every position.

    Args:
        yours: takes the model, a prompt and the neuron, gives a float.
        neuron: layer, site and index.

    Raises:
        NotYet: it gives something else, or leaves a hook behind.

    Example:
        `model` is a tiny random one.

        >>> prompt = prompt_of(model, instances[0])
        >>> ablate_one(model, prompt, lambda model, prompt, neuron: 0.0, neuron=(1, "gate", 3))
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: P without the neuron is 0, ...
    """
    one = Neuron(*neuron)  # type: ignore[arg-type]
    chosen = NeuronSet.of(layout_of(model), [one])
    row = exact_effects(model, prompt.instance, chosen, answer_format="cloze").iloc[0]
    whole, effect = float(row["probability"]), float(row["exact"])
    found = _number("P without the neuron", _called(lambda: yours(model, prompt, one)))
    hints = {
        effect: "that is the effect, P(n) - P(n = 0): give P(n = 0) itself",
        whole: "that is P with nothing changed: does your hook run, and does it change what it is "
        "given?",
    }
    otherwise = (
        "the hook point is blocks.LAYER.mlp.hook_pre, of shape [batch, position, neuron]; set the "
        "neuron to 0 at all positions, and no other neuron"
    )
    _compare("P without the neuron", found, whole - effect, hints=hints, otherwise=otherwise)
    if not math.isclose(_probability(model, prompt), whole, rel_tol=NEAR):
        raise NotYet(
            "P is right, but the hook is still there: run with run_with_hooks, or reset_hooks()"
        )
    return f"Right: without the neuron P = {whole - effect:.4g}, with it {whole:.4g}."


def first_order(
    model: HookedModel,
    prompt: Prompt,
    yours: Callable[[HookedModel, Prompt, int], Any],
    *,
    layer: int,
) -> str:
    """Exercise: n dP/dn of every gate neuron of a layer at every position.

    Args:
        yours: takes the model, a prompt and the layer, gives [position, neuron].

    Raises:
        NotYet: it gives something else.

    Example:
        `model` is a tiny random one.

        >>> prompt = prompt_of(model, instances[0])
        >>> first_order(model, prompt, lambda model, prompt, layer: [[0.0]], layer=1)
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: n dP/dn has the shape (1, 1), ...
    """
    layout = layout_of(model)
    gates = [Neuron(layer, "gate", index) for index in range(layout.gate)]
    expected = position_scores(model, prompt, NeuronSet.of(layout, gates)).T
    returned = _called(lambda: yours(model, prompt, layer))
    detached = returned.detach().cpu() if hasattr(returned, "detach") else returned
    found = np.asarray(detached, dtype=float)
    if found.shape != expected.shape:
        raise NotYet(
            f"n dP/dn has the shape {found.shape}, expected {expected.shape}: a row a position, a "
            "column a neuron"
        )
    size, probability = np.abs(expected).max(), _probability(model, prompt)
    far = np.abs(found - expected)
    if far.max() > NEAR_GRADIENT * size:
        hints = {
            "the gradient is of log P: multiply by P, or differentiate P": expected / probability,
            "the sign is the other way: n dP/dn is what P would lose": -expected,
        }
        others = (
            text
            for text, one in hints.items()
            if np.abs(found - one).max() <= NEAR_GRADIENT * np.abs(one).max()
        )
        hint = next(others, "multiply each activation by the gradient of P there, one by one")
        place = np.unravel_index(far.argmax(), far.shape)
        raise NotYet(
            f"n dP/dn is {found[place]:.3g} at position {place[0]} for neuron {place[1]}, expected "
            f"{expected[place]:.3g}: {hint}"
        )
    return f"Right: {found.size:,} scores of layer {layer}, as the package has them."


def top_share(
    values: Sequence[float] | np.ndarray,
    share: float,
    yours: Callable[[np.ndarray, float], Any],
) -> str:
    """Exercise: the numbers of the neurons with the highest values, a share of all.

    Args:
        yours: takes the values and the share, gives the places of the highest ones.

    Raises:
        NotYet: it gives others.

    Example:
        >>> top_share([0.1, 0.4, 0.2, 0.3], 0.5, lambda values, share: values.argsort()[-2:])
        'Right: the 2 highest of 4.'
    """
    values = np.asarray(values, dtype=float)
    expected = selection.top_share(np.arange(len(values)), values, share, what="neurons", ties={})
    found = np.asarray(_called(lambda: yours(values.copy(), share))).ravel()
    if sorted(found.tolist()) == sorted(expected.tolist()):
        return f"Right: the {len(expected)} highest of {len(values)}."
    hint = "give the places of the highest values, not the values"
    if set(found.tolist()) <= set(range(len(values))):
        hint = "these are others: are they sorted from the highest down?"
        if len(found) != len(expected):
            hint = f"the share of {len(values)} is {share * len(values):g}, rounded down"
    raise NotYet(f"you gave {len(found)} neurons, expected {len(expected)}: {hint}")


def p_value(
    frames: tuple[pd.DataFrame, pd.DataFrame, Sequence[pd.DataFrame]],
    yours: Callable[[pd.DataFrame, Sequence[pd.DataFrame]], float],
) -> str:
    """Exercise: the p-value of `compare`, by a bootstrap over questions.

    Args:
        frames: original, masked and a list of random ones, of `evaluate`, on one task; each
            question in one row.
        yours: takes masked and the random ones, gives p.

    Raises:
        NotYet: it is further from `compare`'s than two bootstraps differ.

    Example:
        `original`, `masked` and those in the list `random` are frames of `evaluate`.

        >>> p_value((original, masked, random), lambda masked, random: -1.0)
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: p is -1: it is a share of resamples, from 0 to 1
    """
    original, masked, random = frames
    expected = float(compare(original, masked, random)["p_mean"].iloc[0])
    found = _number("p", _called(lambda: yours(masked, random)))
    if not 0 <= found <= 1:
        raise NotYet(f"p is {found:g}: it is a share of resamples, from 0 to 1")
    if found == 0:
        raise NotYet("p is 0: of n resamples take (k + 1) / (n + 1), as n is finite")
    spread = 4 * math.sqrt(max(expected * (1 - expected), 0.001) / 1000) + 0.002
    if abs(found - expected) <= spread:
        return f"Right: p = {found:.3g}; compare says {expected:.3g}, from other resamples."
    hint = "count the resamples in which random neurons take at least as much as the masked ones"
    if abs(1 - found - expected) <= spread:
        hint = "that is the other side: " + hint
    raise NotYet(f"p is {found:.3g}, expected about {expected:.3g}: {hint}")


def _probability(model: HookedModel, prompt: Prompt) -> float:
    frame = evaluate(model, [prompt.instance], answer_format="cloze")
    return float(frame["probability"].iloc[0])


def _called(call: Callable[[], Any]) -> Any:
    """What a student's function returns."""
    try:
        found = call()
    except NotImplementedError as error:
        raise NotYet(f"{error or 'it is not written yet'}") from error
    if found is None:
        raise NotYet("your function returned nothing: end it with return")
    return found


def _number(what: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise NotYet(f"{what} is {type(value).__name__}, expected one number") from error


def _compare(
    what: str, found: float, expected: float, *, hints: dict[float, str], otherwise: str
) -> None:
    """Refuse another number; the hint is that of the mistake that gives it."""
    if math.isclose(found, expected, rel_tol=NEAR):
        return
    close = (text for value, text in hints.items() if math.isclose(found, value, rel_tol=NEAR))
    raise NotYet(f"{what} is {found:.4g}, expected {expected:.4g}: {next(close, otherwise)}")
