"""What a whole set does: beside the sum of what its neurons do, and by how far it is scaled."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from culnig_tl.ablation import ablate
from culnig_tl.attribution import frozen
from culnig_tl.checks import check_number
from culnig_tl.effects import log_probability, taylor_check
from culnig_tl.errors import CulnigError
from culnig_tl.evaluation import evaluate
from culnig_tl.instances import Instance
from culnig_tl.models import HookedModel, tokenizer_of
from culnig_tl.neurons import NeuronSet
from culnig_tl.prompts import make_prompts

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def interaction(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    answer_format: str = "auto",
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
    effects: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """How far a set's effect is from the sum of its neurons' effects.

    `effects` may be a frame of `taylor_check` over the same instances that holds these neurons
    (and others): then they are not ablated again.

    Returns:
        One row an instance: instance, country, set, neurons (how many), probability P(n),
        first_order (the sum of the scores), singles (the sum of the exact single effects), joint
        (P(n) minus P with the whole set at 0). Additive: singles = joint. As a set cannot take
        more than all of P, also in nats, where there is no such end: singles_nats and joint_nats,
        the same of log P.

    Raises:
        CulnigError: as `taylor_check`; neurons that `effects` does not hold.
    """
    if effects is None:
        frame = taylor_check(
            model, instances, neurons, "all", 0, answer_format, token_budget, checkpoint
        )
    else:
        frame = effects.astype({"site": str}).merge(neurons.frame().astype({"site": str}))
        if len(frame) != len(neurons) * len(instances):
            raise CulnigError(
                f"these effects do not hold all of {neurons.name!r} on all {len(instances)} "
                "instances: leave them out"
            )
    frame["nats"] = -np.log1p(-frame["exact"] / frame["probability"])
    sums = frame.groupby("instance", sort=False).agg(
        country=("country", "first"),
        probability=("probability", "first"),
        first_order=("first_order", "sum"),
        singles=("exact", "sum"),
        singles_nats=("nats", "sum"),
    )
    joint = []
    with frozen(model), torch.no_grad(), ablate(model, neurons):
        for prompt in make_prompts(tokenizer_of(model), instances, answer_format):
            joint.append(float(log_probability(model, prompt)))
    sums["joint"] = sums["probability"] - np.exp(joint)
    sums["joint_nats"] = np.log(sums["probability"]) - joint
    return sums.reset_index().assign(set=neurons.name, neurons=len(neurons))


def dose_response(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    factors: Sequence[float | int] = FACTORS,
    answer_format: str = "auto",
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Accuracy and P(y|x) as the set's activations are multiplied by each factor, 0 to 2.

    Returns:
        One row a factor: set, factor, items, accuracy (share of 1), probability (mean P(y|x)).

    Raises:
        CulnigError: no factors, or as `evaluate`.
    """
    if not len(factors):
        raise CulnigError("no factors: give one or more, such as 0, 0.5, 1, 2")
    for factor in factors:
        check_number("factor", factor)
    rows = []
    for factor in factors:
        frame = evaluate(model, instances, neurons, float(factor), answer_format, token_budget)
        rows.append(
            {
                "set": neurons.name,
                "factor": factor,
                "items": len(frame),
                "accuracy": frame["correct"].mean(),
                "probability": frame["probability"].mean(),
            }
        )
    return pd.DataFrame(rows)
