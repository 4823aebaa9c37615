"""How a model is trained: the knobs of a fine-tuning, checked. Needs no torch."""

from dataclasses import dataclass

from culnig_tl.checks import SEED_MOST, check_choice, check_count, check_flag, check_number
from culnig_tl.errors import CulnigError


@dataclass(frozen=True)
class Training:
    """The knobs of `finetune`.

    Attributes:
        learning_rate: at the first step; it falls linearly to 0.
        seed: of the order of the data.
        steps: of the optimiser.
        batch: instances in a step; a device holds `batch / accumulation` at a time.
        evaluate_every: steps between evaluations.
        lora: rank of low-rank adapters in place of the matrices themselves (needs peft); 0: none.
        accumulation: parts in which a batch is run.
        gradient_checkpointing: less memory, a third slower.
        report_to: as Hugging Face's Trainer knows it.

    Raises:
        CulnigError: one is out of its range or does not go with another, or a package is missing.

    Example:
        >>> Training(steps=40, evaluate_every=20).batch
        16
    """

    learning_rate: float = 3e-5
    seed: int = 0
    steps: int = 600
    batch: int = 16
    evaluate_every: int = 200
    lora: int = 0
    accumulation: int = 1
    gradient_checkpointing: bool = False
    report_to: str = "none"

    def __post_init__(self) -> None:
        check_number("learning rate", self.learning_rate, least=0, most=1)
        if not self.learning_rate:
            raise CulnigError("learning rate is 0, which trains nothing: give one such as 3e-5")
        check_count("seed", self.seed, most=SEED_MOST)
        for what in ("steps", "batch", "accumulation", "evaluate_every"):
            check_count(what, getattr(self, what), least=1)
        check_count("lora", self.lora)
        check_flag("gradient_checkpointing", self.gradient_checkpointing)
        if self.batch % self.accumulation:
            raise CulnigError(
                f"batch {self.batch} is no multiple of accumulation {self.accumulation}: make it so"
            )
        if self.steps % self.evaluate_every:
            raise CulnigError(
                f"steps {self.steps} is no multiple of evaluate_every {self.evaluate_every}: make "
                "it so, or the last steps are not evaluated"
            )
        if self.report_to != "none":
            _check_reporting(self.report_to)


DEFAULT_TRAINING = Training()


def _check_reporting(report_to: str) -> None:
    """Refuse a place to report to that the Trainer does not know, or whose package is missing."""
    from transformers import integrations

    known = ("none", "all", *integrations.integration_utils.INTEGRATION_TO_CALLBACK)
    check_choice("report_to", report_to, known)
    if report_to not in ("all", *integrations.get_available_reporting_integrations()):
        raise CulnigError(f"report_to {report_to!r} needs a package: pip install {report_to}")
