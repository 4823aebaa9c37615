"""Faithfulness: how much of the answer is left when a set is masked, or when only it is kept."""

# pandas types most results as unions of everything it can return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false
# pyright: reportIndexIssue=false

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from culnig_tl.checks import check_count, check_share
from culnig_tl.errors import CulnigError
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.attribution import scored_once
from culnig_tl.measure.reference import Reference
from culnig_tl.models.batches import fitting_budget, in_batches, pad_batch
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import frozen, label_log_probability
from culnig_tl.models.prompts import Prompt, model_prompts
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
    lengths = [len(prompt.sequence) for prompt in prompts]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)
    means: dict[bytes, float] = {}
    rows = []
    for share, kind, one in progress(points, "Faithfulness", len(points)):
        replaced = one if kind == "masked" else everything - one
        key = replaced.ids.tobytes()
        if key not in means:
            changed = ablate(model, replaced, values=values, reference=reference)
            with frozen(model), torch.no_grad(), changed:
                means[key] = _mean_log_probability(model, prompts, token_budget=token_budget)
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


def _mean_log_probability(
    model: HookedModel, prompts: Sequence[Prompt], *, token_budget: int
) -> float:
    """The mean of log P(y|x) over prompts, each different one run once."""
    groups = scored_once(prompts, clamp_control=False)
    different = [prompts[places[0]] for places in groups]
    lengths = [len(prompt.sequence) for prompt in different]

    def work(rows: list[int]) -> Tensor:
        asked = [different[row] for row in rows]
        batch = pad_batch(
            [prompt.sequence for prompt in asked],
            range(len(asked)),
            tokenizer_of(model),
            device=model.cfg.device,
        )
        labels = [prompt.label for prompt in asked]
        found = label_log_probability(model, batch.tokens, batch.mask, labels=labels)
        names = [f"instance {prompt.instance.id}" for prompt in asked]
        check_finite(found, names, "log-probabilities")
        return found.double().cpu()

    total = 0.0
    for rows, found in in_batches(range(len(different)), lengths, token_budget, work=work, what=""):
        total += sum(float(p) * len(groups[row]) for row, p in zip(rows, found, strict=True))
    return total / len(prompts)
