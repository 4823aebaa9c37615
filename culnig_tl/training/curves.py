"""Curves: the columns of a fine-tuning's scores (CSV). Needs no model."""

from culnig_tl.frames import COUNT, FLAG, NAME, NUMBER, PERCENT, Frame

TRAINING = Frame(
    {
        "step": COUNT,
        "task": NAME,
        "items": COUNT,
        "accuracy": PERCENT,
        "probability": PERCENT,
        "nats": NUMBER,
        "kept": FLAG,
    },
    key=("step", "task"),
)
