"""Exercises with one neuron: what it does, and what first order says that it does."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from culnig_tl.exercises.checking import (
    NEAR,
    NotYet,
    called,
    compare_numbers,
    gates_of,
    number,
)
from culnig_tl.measure.effects import exact_effects
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.measure.taylor import position_scores
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import layout_of
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.neurons.layout import Neuron
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks.instances import Instance

# A gradient's last digits depend on how the passes are cut; mistakes are as large as itself.
NEAR_GRADIENT = 0.01


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
    found = number("P(y|x)", called(lambda: yours(model, prompt)))
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
    compare_numbers("P(y|x)", found, expected, hints=hints, otherwise=otherwise)
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
    found = number("P without the neuron", called(lambda: yours(model, prompt, one)))
    hints = {
        effect: "that is the effect, P(n) - P(n = 0): give P(n = 0) itself",
        whole: "that is P with nothing changed: does your hook run, and does it change what it is "
        "given?",
    }
    otherwise = (
        "the hook point is blocks.LAYER.mlp.hook_pre, of shape [batch, position, neuron]; set the "
        "neuron to 0 at all positions, and no other neuron"
    )
    compare_numbers("P without the neuron", found, whole - effect, hints=hints, otherwise=otherwise)
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
    expected = position_scores(model, prompt, gates_of(model, layer)).T
    returned = called(lambda: yours(model, prompt, layer))
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


def wrong_sign(yours: Callable[[np.ndarray], Any]) -> str:
    """Exercise: for which activations n of a gate first order has the wrong sign, by GELU alone.

    What the neuron gives is act(n), and what setting it to 0 takes is act(n) - act(0) = act(n).
    First order says n act'(n).

    Args:
        yours: takes activations, gives for each whether the two have different signs.

    Raises:
        NotYet: it gives others.

    Example:
        >>> wrong_sign(lambda n: n < 0)
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: at n = -0.35 first order is -0.08 and the ...
    """
    n = np.round(np.arange(-3, 3, 0.05), 2)
    n = n[(abs(n) > 0.01) & (abs(n + 0.75) > 0.01)]  # at 0 both are 0, at -0.75 first order is
    at = torch.tensor(n, requires_grad=True)
    act = torch.nn.functional.gelu(at, approximate="tanh")
    (slope,) = torch.autograd.grad(act.sum(), at)
    truth, claimed = act.detach().numpy(), n * slope.numpy()
    expected = truth * claimed < 0
    found = np.asarray(called(lambda: yours(n.copy())))
    if found.shape != n.shape or found.dtype != bool:
        raise NotYet(
            f"you gave {found.dtype} of the shape {found.shape}, expected true or false for each "
            f"of {len(n)} activations"
        )
    wrong = np.flatnonzero(found != expected)
    if len(wrong):
        place = wrong[len(wrong) // 2]
        said = "different" if found[place] else "the same"
        raise NotYet(
            f"at n = {n[place]:.2f} first order is {claimed[place]:+.2f} and the truth "
            f"{truth[place]:+.2f}, and you say that their signs are {said}: where does the tangent "
            "at n point up, though the way to 0 goes down first?"
        )
    return (
        f"Right: wrong for {expected.sum()} of {len(n)} activations, from -3 to {n[expected][-1]}."
    )


def joint_minus_sum(
    yours: Callable[[Callable[[float, float], float]], float],
) -> str:
    """Exercise: what two neurons do together, less the sum of what each does alone.

    An effect is what f loses when a neuron goes from 1 to 0 and the other one stays at 1.

    Args:
        yours: takes a function f of two neurons, gives the joint effect minus both single ones.

    Raises:
        NotYet: it gives something else for one of the functions tried.

    Example:
        >>> joint_minus_sum(lambda f: f(1, 1) - f(0, 0))
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: of 2 a + 3 a b - b b it is 4, expected -3: ...
    """
    functions: dict[str, Callable[[float, float], float]] = {
        "2 a + 3 a b - b b": lambda a, b: 2 * a + 3 * a * b - b * b,
        "a + b": lambda a, b: a + b,
        "a b": lambda a, b: a * b,
        "max(a, b)": max,
    }
    said = []
    for name, f in functions.items():
        joint, alone = f(1.0, 1.0) - f(0.0, 0.0), 2 * f(1.0, 1.0) - f(0.0, 1.0) - f(1.0, 0.0)
        found = number(name, called(lambda f=f: yours(f)))
        hints = {
            joint: "that is the joint effect: subtract the two single ones",
            alone: "that is the sum of the single effects: subtract it from the joint one",
            alone - joint: "the sign is the other way: is the other neuron at 1 while one goes to "
            "0, and is the sum subtracted from the joint effect?",
        }
        otherwise = "the joint effect is f(1, 1) - f(0, 0), a single one f(1, 1) - f(0, 1)"
        compare_numbers(f"of {name} it", found, joint - alone, hints=hints, otherwise=otherwise)
        said.append(f"{name}: {joint - alone:+g}")
    return f"Right: {'; '.join(said)}."


def _probability(model: HookedModel, prompt: Prompt) -> float:
    frame = evaluate(model, [prompt.instance], answer_format="cloze")
    return float(frame["probability"].iloc[0])
