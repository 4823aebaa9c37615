"""Effects: what neurons really do to P(y|x), one by one."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from culnig_tl.measure.cuts import Positions, ablated, by_layer, cuts_of, effects_in, one_prompt
from culnig_tl.models.batches import fitting_budget
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import identity_of
from culnig_tl.models.forward import frozen
from culnig_tl.models.sums import add_batches
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.provenance import package_versions, sha256_of
from culnig_tl.tasks.instances import Instance, content_hash

SAVE_SECONDS = 30.0


def exact_effects(
    model: HookedModel,
    instance: Instance,
    neurons: NeuronSet,
    *,
    positions: Positions = "all",
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """The true effect P(n) - P(n = 0) of each neuron on P(y|x), many ablations in one pass.

    A neuron is set to 0 in a row of its own. The blocks before the first neuron of a pass run once
    for all its rows: the batch widens at that block, or at the activation itself where all are
    gate neurons of one layer. Only the logits that y needs are computed, and P(n) comes from a
    row of the same pass. Equal to ablation through `run_with_hooks`, one neuron a call, within
    float rounding.

    Args:
        model: from `load_model` or `wrap_model`.
        instance: from `load_task`.
        neurons: which, of this model.
        positions: `all`: a neuron is ablated at every position at once (where y has several
            tokens, at those before its last one too); `each`: at each position alone.
        answer_format: `cloze`, `letter`, or `auto` (letter where there is a chat template).
        token_budget: rows x positions in a pass; None takes what fits into the free memory.
        checkpoint: a file that keeps what is done; a run that died goes on from it.

    Returns:
        One row a neuron (and position), by layer, site, index: layer, site, index, position (-1:
        all), token (the text at that position), probability (P(n)), exact, and nats (the same of
        log P: log P(n) - log P(n = 0)).

    Raises:
        CulnigError: unknown `positions`, a set of another model, a checkpoint of another run,
            not enough memory, or activations, gradients or log P that are NaN or infinite.

    Example:
        `model` is a tiny random one, and `few` a set of four of its neurons.

        >>> frame = exact_effects(model, instances[0], few)
        >>> list(frame.columns)
        ['layer', 'site', 'index', 'position', 'token', 'probability', 'exact', 'nats']
        >>> len(frame)
        4
    """
    prompt = one_prompt(model, instance, neurons, answer_format=answer_format)
    cuts = cuts_of(model, prompt, neurons, positions=positions)
    lengths = [len(prompt.sequence)] * len(cuts)
    if token_budget is None:
        token_budget = fitting_budget(model, lengths[0], gradients=False)
    made_from = {
        "model": identity_of(model),
        "versions": package_versions(),
        "instance": content_hash([instance]),
        "answer_format": answer_format,
        "positions": positions,
        "values": "log P",
        "neurons": sha256_of(neurons.ids.tolist()),
    }
    values = torch.zeros(2, len(cuts), dtype=torch.float64)

    def work(rows: list[int]) -> np.ndarray:
        return ablated(model, prompt, cuts.iloc[rows])

    with frozen(model), torch.no_grad():
        for rows, found in add_batches(
            lengths,
            token_budget,
            work=work,
            sums={"values": values},
            made_from=made_from,
            what="Exact effects",
            checkpoint=checkpoint,
            seconds=SAVE_SECONDS,
            grouping=by_layer(cuts),
        ):
            values[:, rows] = torch.from_numpy(found)
    return cuts.assign(**effects_in(values.numpy()))
