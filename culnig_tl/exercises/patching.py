"""Exercises with two prompts: which answer is preferred, and what a patch makes of it."""

from collections.abc import Callable
from dataclasses import dataclass

from culnig_tl.errors import CulnigError
from culnig_tl.exercises.checking import called, compare_numbers, gates_of, number
from culnig_tl.measure.patching import activation_patch, with_answers
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.prompts import Prompt
from culnig_tl.tasks.instances import Instance


@dataclass(frozen=True)
class PromptPair:
    """Two questions of one length, as prompts.

    Attributes:
        source: the source's question with the source's answer.
        other: the base's question with the source's answer.
        base: the base's question with its own answer.
    """

    source: Prompt
    other: Prompt
    base: Prompt


def pair_of(model: HookedModel, source: Instance, base: Instance) -> PromptPair:
    """Two instances that ask the same of two groups, as prompts for the exercises.

    Raises:
        CulnigError: the questions have different numbers of tokens.

    Example:
        `model` is a tiny random one, and `iran` and `spain` ask the same question.

        >>> pair = pair_of(model, iran, spain)
        >>> pair.other.tokens == pair.base.tokens, pair.other.label == pair.source.label
        (True, True)
    """
    answers = source.answer_text, base.answer_text
    own, _ = with_answers(model, source, answers)
    other, there = with_answers(model, base, answers)
    if len(own.tokens) != len(there.tokens):
        raise CulnigError(
            f"the questions have {len(own.tokens)} and {len(there.tokens)} tokens: take a pair of "
            "one length"
        )
    return PromptPair(own, other, there)


def preference(
    model: HookedModel, pair: PromptPair, yours: Callable[[HookedModel, PromptPair], float]
) -> str:
    """Exercise: D, which of two answers the base's prompt prefers, in nats.

    D = log P(source's answer) - log P(base's answer), both after the base's question.

    Args:
        yours: takes the model and the pair (`pair_of`), gives D.

    Raises:
        NotYet: it gives something else.

    Example:
        `model` is a tiny random one, and `iran` and `spain` ask the same question.

        >>> preference(model, pair_of(model, iran, spain), lambda model, pair: 99.0)
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: D is 99, expected ...
    """
    found = _measured(model, pair.source, pair.base, layer=0)
    before, in_source = found["before"], found["in_source"]
    mine = number("D", called(lambda: yours(model, pair)))
    hints = {
        -before: "the sign is the other way: the source's answer comes first",
        in_source: "that is D after the source's question: read both answers off the base's",
    }
    otherwise = "sum log P over the tokens of each answer, after the base's question, and subtract"
    compare_numbers("D", mine, before, hints=hints, otherwise=otherwise)
    return f"Right: D = {before:+.2f} nats; after the source's own question it is {in_source:+.2f}."


def patched_preference(
    model: HookedModel,
    pair: PromptPair,
    yours: Callable[[HookedModel, PromptPair, int], float],
    *,
    layer: int,
) -> str:
    """Exercise: D with the gates of a layer put in from the source's run (`activation_patch`).

    All gates of the layer, at all positions of the question; those of the answer are left alone.

    Args:
        yours: takes the model, the pair (`pair_of`) and the layer, gives D.

    Raises:
        NotYet: it gives something else.

    Example:
        `model` is a tiny random one, and `iran` and `spain` ask the same question.

        >>> pair = pair_of(model, iran, spain)
        >>> patched_preference(model, pair, lambda model, pair, layer: 99.0, layer=1)
        Traceback (most recent call last):
        ...
        culnig_tl.exercises.checking.NotYet: D with the patch is 99, expected ...
    """
    found = _measured(model, pair.source, pair.base, layer=layer)
    other_way = _measured(model, pair.base, pair.source, layer=layer)
    after = found["after"]
    mine = number("D with the patch", called(lambda: yours(model, pair, layer)))
    hints = {
        found["before"]: "that is D without a patch: does your hook return what it changed?",
        found["moved"]: "that is how far D moved: give D itself",
        found["in_source"]: "that is D in the source's own run: patch the base's",
        -other_way["after"]: "that puts the base's activations into the source's run",
    }
    otherwise = (
        "keep blocks.LAYER.mlp.hook_pre of the source's question, and put it at the same positions "
        "of the base's run, for both answers"
    )
    compare_numbers("D with the patch", mine, after, hints=hints, otherwise=otherwise)
    return (
        f"Right: from {found['before']:+.2f} to {after:+.2f} nats, {found['share']:.0%} of the way "
        "to the source's own run."
    )


def _measured(model: HookedModel, source: Prompt, base: Prompt, *, layer: int) -> dict:
    """`activation_patch` of a layer's gates."""
    gates = gates_of(model, layer)
    return activation_patch(model, source.instance, base.instance, neurons=gates, align="refuse")
