"""Faithfulness: how much of the answer is left when a set is masked, or when only it is kept."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from culnig_tl.checks import check_count, check_share
from culnig_tl.errors import CulnigError
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.likelihood import log_probabilities
from culnig_tl.measure.reference import Reference
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import layout_of
from culnig_tl.models.forward import frozen
from culnig_tl.models.prompts import model_prompts
from culnig_tl.neurons.estimates import Values
from culnig_tl.neurons.selection import select_random, share_count
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.progress import progress
from culnig_tl.tasks.instances import Instance

SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
KINDS = ("masked", "kept")


def faithfulness_curve(
    model: HookedModel,
    instances: Sequence[Instance],
    ranking: np.ndarray,
    *,
    shares: Sequence[float] = SHARES,
    values: Values = "zero",
    reference: Reference | None = None,
    seeds: int = 2,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Sets of the highest rank, masked, and kept with all other neurons replaced.

    Masking shows whether a set is needed, keeping whether it is enough. As in the MIB benchmark
    (arXiv 2504.13151), faithfulness is

        f(C) = (m(C) - m(none)) / (m(all) - m(none)),

    m(C) the mean of log P(answer) where only C is as it is, m(none) where every neuron is
    replaced and m(all) where none is. A masked set is the kept rest: C is then all others.

    Args:
        ranking: [neuron], by flat id, highest first to go (as `rank_values`).
        shares: of all neurons; 0 and 1 are always in the curve.
        values, reference: what neurons are replaced by, as in `ablate`.
        seeds: random sets beside each, with as many neurons in every site and layer.
        model, instances, answer_format, token_budget: as `evaluate`.

    Returns:
        One row a share, kind (`masked`, `kept`) and set (`ranked`, `random-0`, ...): share,
        neurons, kind, set, log_probability (m above, mean nats) and faithful.

    Raises:
        CulnigError: a ranking of another length, a share outside 0..1, no share, replacing every
            neuron changes nothing, or as `evaluate`.

    Example:
        `model` is a tiny random one, and `scores` are what `attribute` found.

        >>> curve = faithfulness_curve(model, instances, scores.mean(), shares=(0.1,), seeds=1)
        >>> len(curve), curve["set"].unique().tolist()
        (12, ['ranked', 'random-0'])
    """
    layout = layout_of(model)
    if len(ranking) != layout.total:
        raise CulnigError(
            f"the ranking has {len(ranking)} neurons, the model {layout}: rank this model's"
        )
    if not len(shares):
        raise CulnigError("no shares: give one or more, such as 0.01, 0.1")
    for share in shares:
        check_share("share", share)
    check_count("seeds", seeds)
    order = np.argsort(-np.asarray(ranking), kind="stable")
    everything = NeuronSet.everything(layout)
    points = []
    for share in sorted({0.0, *map(float, shares), 1.0}):
        ranked = NeuronSet(layout, order[: share_count(layout.total, share)], "ranked")
        sets = [ranked]
        for seed in range(seeds):
            drawn = ranked if share in (0.0, 1.0) else select_random(ranked, seed, matched=True)
            sets.append(drawn.named(f"random-{seed}"))
        points += [(share, kind, one) for kind in KINDS for one in sets]
    prompts = model_prompts(model, instances, answer_format=answer_format)
    means: dict[bytes, float] = {}
    rows = []
    for share, kind, one in progress(points, "Faithfulness", len(points)):
        replaced = one if kind == "masked" else everything - one
        key = replaced.ids.tobytes()
        if key not in means:
            changed = ablate(model, replaced, values=values, reference=reference)
            with frozen(model), torch.no_grad(), changed:
                found = log_probabilities(model, prompts, token_budget=token_budget)
            means[key] = float(found.mean())
        rows.append(
            {
                "share": share,
                "neurons": len(one),
                "kind": kind,
                "set": one.name,
                "log_probability": means[key],
            }
        )
    curve = pd.DataFrame(rows)
    ends = curve[(curve["set"] == "ranked") & (curve["kind"] == "masked")]
    ends = ends.set_index("share")["log_probability"]
    whole, none = ends[0.0], ends[1.0]
    if abs(whole - none) < 1e-9:
        raise CulnigError("replacing every neuron changes nothing: take another reference")
    return curve.assign(faithful=(curve["log_probability"] - none) / (whole - none))
