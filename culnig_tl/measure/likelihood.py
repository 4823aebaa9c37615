"""Likelihood: log P of the right answers of many prompts, in batches."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from culnig_tl.measure.attribution import scored_once
from culnig_tl.models.batches import fitting_budget, in_batches, pad_batch
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import label_log_probability
from culnig_tl.models.prompts import Prompt


def log_probabilities(
    model: HookedModel, prompts: Sequence[Prompt], *, token_budget: int | None = None
) -> Float[np.ndarray, "prompt"]:
    """log P(y|x) of each prompt; those that are the same to the model run once.

    Args:
        token_budget: tokens in a batch, padding included; None takes what fits.

    Raises:
        CulnigError: one is NaN or infinite, or not enough memory.
    """
    groups = scored_once(prompts, clamp_control=False)
    different = [prompts[places[0]] for places in groups]
    lengths = [len(prompt.sequence) for prompt in different]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)

    def work(rows: list[int]) -> Tensor:
        asked = [different[row] for row in rows]
        sequences = [prompt.sequence for prompt in asked]
        batch = pad_batch(
            sequences, range(len(asked)), tokenizer_of(model), device=model.cfg.device
        )
        labels = [prompt.label for prompt in asked]
        found = label_log_probability(model, batch.tokens, batch.mask, labels=labels)
        names = [f"instance {prompt.instance.id}" for prompt in asked]
        check_finite(found, names, "log-probabilities")
        return found.double().cpu()

    log_p = np.zeros(len(prompts))
    for rows, found in in_batches(range(len(different)), lengths, token_budget, work=work, what=""):
        for row, value in zip(rows, found.tolist(), strict=True):
            log_p[groups[row]] = value
    return log_p
