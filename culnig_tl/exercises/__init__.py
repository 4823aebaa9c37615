"""Exercises: what a student writes is held against the package, and told what is wrong with it.

What comes in are a student's functions; what goes out is a sentence, or a `NotYet` with what was
returned, what was expected, and a hint. Imports every room but `training`, `study` and `cli`.

    from culnig_tl import exercises
    exercises.answer_probability(model, prompt, mine)
"""

from culnig_tl.exercises.checking import NotYet
from culnig_tl.exercises.evidence import p_value, questions_needed
from culnig_tl.exercises.neuron import (
    ablate_one,
    answer_probability,
    first_order,
    joint_minus_sum,
    prompt_of,
    wrong_sign,
)
from culnig_tl.exercises.patching import PromptPair, pair_of, patched_preference, preference
from culnig_tl.exercises.sets import entropy, own_questions, top_share

__all__ = [
    "NotYet",
    "PromptPair",
    "ablate_one",
    "answer_probability",
    "entropy",
    "first_order",
    "joint_minus_sum",
    "own_questions",
    "p_value",
    "pair_of",
    "patched_preference",
    "preference",
    "prompt_of",
    "questions_needed",
    "top_share",
    "wrong_sign",
]
