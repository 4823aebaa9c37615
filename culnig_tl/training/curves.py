"""Curves: the columns of a fine-tuning's scores (CSV), and its evaluations. Needs no model."""

from pathlib import Path

from culnig_tl.frames import COUNT, FLAG, MAYBE_NUMBER, NAME, NUMBER, PERCENT, Frame

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
    optional={"questions": COUNT, "chance": MAYBE_NUMBER},
)


def step_file(out: Path, step: int) -> Path:
    """The evaluation of a step, in the folder of a fine-tuning."""
    return out / "evaluations" / f"step-{step}.csv"
