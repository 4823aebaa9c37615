"""The tables (CSV) in a run's folder that are read again: the columns of each."""

from culnig_tl.frames import (
    COUNT,
    FLAG,
    MAYBE_NUMBER,
    NAME,
    NUMBER,
    PLACE,
    SHARE,
    TEXT,
    Frame,
    one_of,
)
from culnig_tl.neurons.layout import SITES
from culnig_tl.training.curves import TRAINING

REPLIES = Frame(
    {
        "id": NAME,
        "task": NAME,
        "country": NAME,
        "language": NAME,
        "question": TEXT,
        "reply": TEXT,
        "correct": FLAG,
    },
    key=("task", "id"),
)


# Of `verify_run`, by the files' names.
CHECKS = {
    "effects": Frame(
        {
            "layer": COUNT,
            "site": one_of(SITES),
            "index": COUNT,
            "position": PLACE,
            "token": TEXT,
            "instance": NAME,
            "country": TEXT,
            "probability": SHARE,
            "first_order": NUMBER,
            "integrated": MAYBE_NUMBER,
            "exact": NUMBER,
        },
        key=("instance", "layer", "site", "index", "position"),
    ),
    "interactions": Frame(
        {
            "instance": NAME,
            "country": TEXT,
            "probability": SHARE,
            "first_order": NUMBER,
            "singles": NUMBER,
            "singles_nats": MAYBE_NUMBER,
            "joint": NUMBER,
            "joint_nats": MAYBE_NUMBER,
            "set": NAME,
            "neurons": COUNT,
        },
        key=("set", "instance"),
    ),
    "doses": Frame(
        {
            "set": NAME,
            "factor": NUMBER,
            "items": COUNT,
            "accuracy": SHARE,
            "probability": SHARE,
        },
        key=("set", "factor"),
    ),
    "patching": Frame(
        {
            "source": NAME,
            "target": NAME,
            "before": NUMBER,
            "after": NUMBER,
            "in_source": NUMBER,
            "moved": NUMBER,
            "share": MAYBE_NUMBER,
            "estimated": NUMBER,
            "question": COUNT,
            "set": NAME,
            "instance": COUNT,
            "probability": NUMBER,
        },
        key=("question", "source", "target"),
    ),
}


# Of `compare_methods`.
_PERPLEXITY = Frame(
    columns={"neurons": NAME}, key=("neurons",), rest=MAYBE_NUMBER, index=("neurons",)
)


METHODS = {
    "table": Frame(
        {
            "set": NAME,
            "task": NAME,
            "items": COUNT,
            "original": NUMBER,
            "masked": NUMBER,
            "random": NUMBER,
            "random_sd": NUMBER,
            "p_mean": SHARE,
            "p_one": SHARE,
            "significant": FLAG,
        },
        key=("set", "task"),
        index=("set",),
    ),
    "sizes": Frame({"set": NAME, "neurons": COUNT}, key=("set",), index=("set",)),
    "overlap": Frame(columns={"set": NAME}, key=("set",), rest=COUNT, index=("set",)),
    "perplexity-languages": _PERPLEXITY,
    "perplexity-cultures": _PERPLEXITY,
}


# Of `finetune_run`: all fine-tunings of a task.
_CHOICES = ("top", "bottom", "random", "all")  # of modules, whose neurons the first three go by


_COMBINATION = {"which": one_of(_CHOICES), "learning_rate": NUMBER}


FINETUNINGS = {
    "table": Frame(
        {**_COMBINATION, "seeds": COUNT, "neurons": NUMBER},
        key=tuple(_COMBINATION),
        rest=MAYBE_NUMBER,
    ),
    "curves": Frame(
        {
            **_COMBINATION,
            "seed": COUNT,
            **TRAINING.columns,
            "neurons": COUNT,
            "trained": NAME,
        },
        key=("which", "learning_rate", "seed", "step", "task"),
    ),
}
