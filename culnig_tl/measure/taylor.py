"""The check of the Taylor approximation: what the gradient says neurons do, beside what they do."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.files import write_atomically
from culnig_tl.measure.attribution import scored_once
from culnig_tl.measure.cuts import (
    Positions,
    ablated,
    by_layer,
    cuts_of,
    effects_in,
    log_probability,
    name_of,
    one_prompt,
    quadrature,
    stacked,
)
from culnig_tl.measure.gradients import gradient_hooks
from culnig_tl.models.batches import fitting_budget, in_batches, told
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import identity_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.neurons.estimates import ESTIMATES, Estimate, estimate_points
from culnig_tl.neurons.layout import Key
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.no_group import group_in_frames
from culnig_tl.progress import progress
from culnig_tl.provenance import package_versions, sha256_of
from culnig_tl.schemas import damaged
from culnig_tl.tasks.instances import Instance, content_hash


def taylor_check(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    *,
    positions: Positions = "all",
    steps: int = 4,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
) -> pd.DataFrame:
    """What setting a neuron to 0 does to P(y|x), by every estimate and in truth.

    - `first_order`: n dP/dn (equations 8 and 9), summed over positions where `positions` is `all`.
    - `gate_exact`: for a gate neuron h dP/dh, h = act(n) * up; for others as `first_order`.
    - `score_first_order`, `score_gate_exact`: what selects, of this instance: the maximum over
      positions of n dlogP/dn or h dlogP/dh, divided by the answer's number of tokens (`attribute`
      with the target `log` and the variant `max`).
    - `integrated`: the integral over alpha of n dP/dn at alpha n, from 0 to 1, this neuron alone
      scaled: by Gauss-Legendre quadrature with `steps` nodes. It converges to the exact effect.
    - `exact`: P(n) - P(n = 0), and `nats`: log P(n) - log P(n = 0), from `exact_effects`.

    `agreement` holds any of the first five against one of the last two.

    Args:
        steps: nodes of the integral; each costs a forward and a backward pass of a row for every
            neuron. 0 leaves it out (NaN).
        checkpoint: a folder that keeps each finished instance; a run that died goes on from it.
        model, instances, neurons, positions, answer_format, token_budget: as `exact_effects`.

    Returns:
        The columns of `exact_effects`, and instance, group, question and the estimates.
        Instances that are the same to the model are computed once.

    Raises:
        CulnigError: as `exact_effects`; no instances, or two of one id; negative steps.

    Example:
        `model` is a tiny random one, and `few` a set of four of its neurons.

        >>> frame = taylor_check(model, instances[:2], few, steps=2)
        >>> len(frame)  # instances x neurons
        8
        >>> frame[["first_order", "integrated", "exact"]].shape
        (8, 3)
    """
    check_count("steps", steps)
    if not instances:
        raise CulnigError("no instances: load a task first")
    check_ids(instances)
    about = [identity_of(model), package_versions(), answer_format, positions, steps]
    frames = []
    prompts = model_prompts(model, instances, answer_format=answer_format)
    runs = scored_once(prompts, clamp_control=False)
    first = {place: places[0] for places in runs for place in places}
    what = told("Taylor check", runs)
    for place, instance in enumerate(progress(instances, what, len(instances))):
        if first[place] != place:  # the same to the model: its numbers are there
            frames.append(frames[first[place]])
            continue
        run = sha256_of([*about, content_hash([instance]), neurons.ids.tolist()])
        file = None if checkpoint is None else Path(checkpoint) / f"{run}.parquet"
        if file is not None and file.exists():
            try:
                frames.append(pd.read_parquet(file))  # text and sites keep their types there
            except (OSError, ValueError) as error:
                raise damaged(file, " ".join(str(error).split())) from error
            continue
        frame = _check_one(
            model,
            instance,
            neurons,
            positions=positions,
            steps=steps,
            answer_format=answer_format,
            token_budget=token_budget,
        )
        if file is not None:
            write_atomically(file, lambda name, frame=frame: frame.to_parquet(name))
        frames.append(frame)
    return pd.concat(
        [
            frame.assign(
                instance=instance.id,
                group=group_in_frames(instance.group),
                question=instance.question_key,
            )
            for instance, frame in zip(instances, frames, strict=True)
        ],
        ignore_index=True,
    )


def check_ids(instances: Sequence[Instance]) -> None:
    """Refuse instances that a frame of effects could not tell apart.

    Raises:
        CulnigError: two have one id.
    """
    ids = [instance.id for instance in instances]
    if len(set(ids)) < len(ids):
        twice = next(one for number, one in enumerate(ids) if one in ids[:number])
        raise CulnigError(f"two instances have the id {twice!r}: give each once, one task a call")


def position_scores(
    model: HookedModel, prompt: Prompt, neurons: NeuronSet
) -> Float[np.ndarray, "neuron pos"]:
    """n dP/dn of each neuron at each position (equation 6); neurons in the order of their ids."""
    scores, probability = position_shares(model, prompt, neurons)
    return scores * probability


def position_shares(
    model: HookedModel, prompt: Prompt, neurons: NeuronSet, *, estimate: Estimate = "first_order"
) -> tuple[Float[np.ndarray, "neuron pos"], float]:
    """`position_scores` as shares of P(y|x), n dlogP/dn, and P(y|x); or by another estimate."""
    parts: dict[Key, Tensor] = {}
    by_site = neurons.by_site()

    def use(key: Key, activation: Tensor, gradient: Tensor) -> None:
        score = at_least_float32(activation) * at_least_float32(gradient)
        parts[key] = score[0].flatten(1)[:, torch.tensor(by_site[key])].T

    with frozen(model), gradient_hooks(model, estimate_points(by_site, estimate), use):
        total = log_probability(model, prompt)
        total.sum().backward()
    check_finite(list(parts.values()), [name_of(prompt)] * len(parts), "activations or gradients")
    scores = torch.cat([parts[key] for key in by_site]).cpu().numpy().astype(np.float64)
    return scores, float(total.detach().double().exp())


def _integrated(
    model: HookedModel, prompt: Prompt, cuts: pd.DataFrame, *, steps: int
) -> np.ndarray:
    """The integral of n dP/dn along n -> alpha n, for each cut."""
    nodes, weights = quadrature(steps)
    alpha = torch.tensor(nodes).repeat(len(cuts))
    paths: list[tuple[Tensor, Tensor, Tensor]] = []

    def change(key: Key, row: Tensor, n: Tensor) -> Tensor:
        scaled = n.detach() * alpha[row][:, None].to(n)
        paths.append((row, n.detach(), scaled.requires_grad_()))
        return scaled

    probability = stacked(model, prompt, cuts, change=change, copies=steps).exp()
    gradients = torch.autograd.grad(probability.sum(), [scaled for _, _, scaled in paths])
    products = np.empty(len(cuts) * steps)
    for (row, n, _), gradient in zip(paths, gradients, strict=True):
        products[row.numpy()] = (n * gradient).sum(dim=1).double().cpu().numpy()
    check_finite(gradients, [name_of(prompt)] * len(gradients), "gradients")
    return products.reshape(len(cuts), steps) @ weights


def _check_one(
    model: HookedModel,
    instance: Instance,
    neurons: NeuronSet,
    *,
    positions: Positions,
    steps: int,
    answer_format: AnswerFormat,
    token_budget: int | None,
) -> pd.DataFrame:
    prompt = one_prompt(model, instance, neurons, answer_format=answer_format)
    cuts = cuts_of(model, prompt, neurons, positions=positions)
    estimates = {}
    for estimate in ESTIMATES:
        shares, probability = position_shares(model, prompt, neurons, estimate=estimate)
        whole = positions == "all"
        sums = shares.sum(axis=1) if whole else shares.reshape(-1)
        highest = shares.max(axis=1) if whole else sums
        estimates[estimate] = sums * probability
        estimates[f"score_{estimate}"] = highest / len(prompt.label)
    lengths, every = [len(prompt.sequence)] * len(cuts), range(len(cuts))
    log_p = np.empty((2, len(cuts)))
    integrated = np.full(len(cuts), np.nan)
    if token_budget is None:
        token_budget = fitting_budget(model, lengths[0], gradients=False)

    def cut(rows: list[int]) -> np.ndarray:
        return ablated(model, prompt, cuts.iloc[rows])

    def integral(rows: list[int]) -> np.ndarray:
        return _integrated(model, prompt, cuts.iloc[rows], steps=steps)

    grouping = by_layer(cuts)
    with frozen(model), torch.no_grad():
        for rows, found in in_batches(
            every, lengths, token_budget, work=cut, what="", grouping=grouping
        ):
            log_p[:, rows] = found
    if steps:
        # A backward pass holds about twice what a forward pass does.
        budget, lengths = max(1, token_budget // 2), [length * steps for length in lengths]
        with frozen(model):
            for rows, found in in_batches(
                every, lengths, budget, work=integral, what="", grouping=grouping
            ):
                integrated[rows] = found
    return cuts.assign(
        instance=instance.id,
        group=group_in_frames(instance.group),
        **estimates,
        integrated=integrated,
        **effects_in(log_p),
    )
