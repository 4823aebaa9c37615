"""The neurons that matter most for one answer: screened by an estimate, then really ablated."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from culnig_tl.checks import check_choice, check_count, check_share
from culnig_tl.measure.effects import exact_effects
from culnig_tl.measure.taylor import position_shares
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import layout_of
from culnig_tl.models.prompts import model_prompts
from culnig_tl.neurons.layout import SITES, Site
from culnig_tl.neurons.selection import share_count
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks.instances import Instance

SHARE = 0.03


def top_effects(
    model: HookedModel,
    instance: Instance,
    k: int = 100,
    *,
    sites: Sequence[Site] = SITES,
    share: float = SHARE,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """The `k` neurons whose ablation costs the answer most, without ablating all.

    1. One pass estimates what every neuron does at every position (`gate_exact`).
    2. Neurons are ranked by the sum over positions of its size, whatever its sign. What a neuron
       does at one position and undoes at another cancels in an estimate, and often not in truth
       (arXiv 2403.00745 sees cancellation hide whole components).
    3. Those of the highest `share`, of each site, are really set to 0, one by one.
    4. The k with the largest true effect are returned.

    What is ranked below that share is missed. `benchmarks/exact_ablation.py --every-gate` counts
    how many of the true top 100 that are.

    Args:
        k: how many.
        sites: among the neurons of these.
        share: of each site's neurons, how many are ablated; at least k of each.
        model, instance, answer_format, token_budget, checkpoint: as `exact_effects`.

    Returns:
        The rows of `exact_effects`, largest effect first, and `estimate` (nats; positions
        summed).

    Raises:
        CulnigError: k below 1 or more than there are neurons, an unknown site, a share outside
            0..1, or as `exact_effects`.

    Example:
        `model` is a tiny random one.

        >>> top = top_effects(model, instances[0], 5)
        >>> len(top), bool(top["exact"].is_monotonic_decreasing)
        (5, True)
    """
    check_share("share", share)
    for site in sites:
        check_choice("site", site, SITES)
    layout = layout_of(model)
    every = NeuronSet(layout, layout.ids_of(sites), "every")
    check_count("k", k, least=1, most=len(every), unit="(there are so many neurons)")
    (prompt,) = model_prompts(model, [instance], answer_format=answer_format)
    shares, _ = position_shares(model, prompt, every, estimate="gate_exact")
    estimate, rank = np.zeros(layout.total), np.zeros(layout.total)
    estimate[every.ids] = shares.sum(axis=1)
    rank[every.ids] = np.abs(shares).sum(axis=1)
    chosen = []
    for site in dict.fromkeys(sites):
        ids = layout.ids_of([site])
        count = max(k, share_count(len(ids), share))
        chosen.append(ids[np.argsort(-rank[ids], kind="stable")[:count]])
    candidates = NeuronSet(layout, np.concatenate(chosen), "candidates")
    effects = exact_effects(
        model,
        instance,
        candidates,
        answer_format=answer_format,
        token_budget=token_budget,
        checkpoint=checkpoint,
    )
    best = effects.assign(estimate=estimate[candidates.ids])
    return best.nlargest(k, "exact", keep="first").reset_index(drop=True)
