"""What a whole set does: beside the sum of what its neurons do, and by how far it is scaled."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from culnig_tl.checks import check_number
from culnig_tl.errors import CulnigError
from culnig_tl.frames import check_columns, numbers
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.evaluation import evaluate
from culnig_tl.measure.likelihood import log_probabilities
from culnig_tl.measure.taylor import check_ids, taylor_check
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.forward import frozen
from culnig_tl.models.prompts import model_prompts
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.resampling import mean_interval, question_numbers
from culnig_tl.tasks.instances import Instance

# The largest share of P that double precision tells from all of it: 36.7 nats.
MOST_SHARE = 1 - 2.0**-53
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def interaction(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    *,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
    effects: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """How far a set's effect is from the sum of its neurons' effects.

    `effects` may be a frame of `taylor_check` over the same instances that holds these neurons
    (and others): then they are not ablated again.

    Returns:
        One row an instance: instance, group, question, set, neurons (how many), probability
        P(n), first_order (the sum of the scores), singles (the sum of the exact single effects),
        joint (P(n) minus P with the whole set at 0). Additive: singles = joint. As a set cannot
        take more than all of P, also in nats, where there is no such end: singles_nats and
        joint_nats, the same of log P (a single neuron's at most 36.7), and floor_nats, what every
        neuron of the model at 0 takes. `additivity` says how to read them.

    Raises:
        CulnigError: as `taylor_check`; `effects` does not hold these neurons on these instances,
            or holds one twice; a P(n) that is 0 in floating point, of which there are no shares.

    Example:
        `model` is a tiny random one, `few` a set of its neurons, `effects` their `taylor_check`.

        >>> frame = interaction(model, instances[:3], few, effects=effects)
        >>> frame["neurons"].tolist()
        [4, 4, 4]
    """
    check_ids(instances)
    if effects is None:
        frame = taylor_check(
            model,
            instances,
            neurons,
            positions="all",
            steps=0,
            answer_format=answer_format,
            token_budget=token_budget,
            checkpoint=checkpoint,
        )
    else:
        frame = _effects_of(effects, neurons, instances)
    for column in ("probability", "first_order", "exact"):
        numbers(frame, column, "these effects", key=["instance"])
    none = frame.loc[frame["probability"] <= 0, "instance"]
    if len(none):
        raise CulnigError(
            f"P(y|x) of instance {none.iloc[0]} is 0 in floating point: leave the instance out, as "
            "there is nothing to take from it"
        )
    share = (frame["exact"] / frame["probability"]).clip(upper=MOST_SHARE)
    frame["nats"] = -np.log1p(-share)
    sums = frame.groupby("instance", sort=False).agg(
        group=("group", "first"),
        probability=("probability", "first"),
        first_order=("first_order", "sum"),
        singles=("exact", "sum"),
        singles_nats=("nats", "sum"),
    )
    prompts = model_prompts(model, instances, answer_format=answer_format)
    left = []
    for masked in (neurons, NeuronSet.everything(neurons.layout)):
        with frozen(model), torch.no_grad(), ablate(model, masked):
            left.append(log_probabilities(model, prompts, token_budget=token_budget))
    joint, floor = left
    sums["joint"] = sums["probability"] - np.exp(joint)
    sums["joint_nats"] = np.log(sums["probability"]) - joint
    sums["floor_nats"] = np.log(sums["probability"]) - floor
    asked = {instance.id: instance.question_key for instance in instances}
    return sums.reset_index().assign(
        question=lambda frame: frame["instance"].map(asked),
        set=neurons.name,
        neurons=len(neurons),
    )


def _effects_of(
    effects: pd.DataFrame, neurons: NeuronSet, instances: Sequence[Instance]
) -> pd.DataFrame:
    """The rows of `effects` for these neurons and instances, in their order; each must be there."""
    keys = ["instance", "layer", "site", "index"]
    columns = [*keys, "group", "probability", "first_order", "exact"]
    check_columns(effects, columns, "these effects")
    wanted = pd.DataFrame({"instance": [i.id for i in instances]}, dtype=str).merge(
        neurons.frame().astype({"site": str}), how="cross"
    )
    held = effects[columns].astype({"instance": str, "site": str})
    if "position" in effects and (effects["position"] >= 0).any():
        raise CulnigError("these effects are of single positions: take those of positions='all'")
    twice = held[held.duplicated(keys)]
    if len(twice):
        raise CulnigError(
            f"these effects hold instance {twice['instance'].iloc[0]!r} twice: keep one"
        )
    frame = wanted.merge(held, how="left", on=keys, indicator=True)
    missing = frame.loc[frame.pop("_merge") != "both", "instance"]
    if len(missing):
        raise CulnigError(
            f"these effects do not hold all of {neurons.name!r} on all {len(instances)} instances, "
            f"{missing.iloc[0]!r} first: leave them out"
        )
    return frame


def dose_response(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    *,
    factors: Sequence[float | int] = FACTORS,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Accuracy and P(y|x) as the set's activations are multiplied by each factor, 0 to 2.

    Returns:
        One row a factor: set, factor, items, questions, chance, accuracy (both shares of 1),
        probability (mean P(y|x)); and change: of the accuracy beside that at factor 1, with
        change_low and change_high, its 95% interval by a bootstrap over questions (NaN where
        1 is none of the factors).

    Raises:
        CulnigError: no factors, or as `evaluate`.

    Example:
        `model` is a tiny random one, and `few` a set of four of its neurons.

        >>> doses = dose_response(model, instances, few, factors=(0, 1))
        >>> doses["factor"].tolist(), doses["items"].tolist()
        ([0, 1], [8, 8])
    """
    if not len(factors):
        raise CulnigError("no factors: give one or more, such as 0, 0.5, 1, 2")
    for factor in factors:
        check_number("factor", factor)
    frames = {}
    for factor in factors:
        frames[factor] = evaluate(
            model,
            instances,
            neurons,
            factor=float(factor),
            answer_format=answer_format,
            token_budget=token_budget,
        )
    rng = np.random.default_rng(0)
    rows = []
    for factor, frame in frames.items():
        questions = question_numbers(frame)
        change = low = high = np.nan
        if 1 in frames:
            changes = (frame["correct"].astype(float) - frames[1]["correct"]).to_numpy()
            change = changes.mean()
            low, high = mean_interval(changes, questions, rng=rng)
        rows.append(
            {
                "set": neurons.name,
                "factor": factor,
                "items": len(frame),
                "questions": len(np.unique(questions)),
                "chance": frame["chance"].mean(),
                "accuracy": frame["correct"].mean(),
                "probability": frame["probability"].mean(),
                "change": change,
                "change_low": low,
                "change_high": high,
            }
        )
    return pd.DataFrame(rows)
