"""Exercises: what a student writes is held against the package, and told what is wrong with it.

What comes in are a student's functions; what goes out is a sentence, or a `NotYet` with what was
returned, what was expected, and a hint. Imports every room but `training`, `study` and `cli`.

    from culnig_tl import exercises
    exercises.answer_probability(model, prompt, mine)
"""

from culnig_tl.exercises.checking import (
    NotYet,
    ablate_one,
    answer_probability,
    first_order,
    p_value,
    prompt_of,
    top_share,
)

__all__ = [
    "NotYet",
    "ablate_one",
    "answer_probability",
    "first_order",
    "p_value",
    "prompt_of",
    "top_share",
]
