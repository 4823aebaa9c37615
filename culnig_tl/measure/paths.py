"""Paths: a set of neurons scaled together, and each neuron's share of what that does."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from culnig_tl.checks import check_count
from culnig_tl.measure.cuts import check_neurons, keep_hooks, log_probability, name_of, quadrature
from culnig_tl.measure.taylor import position_shares
from culnig_tl.models.batches import fitting_budget
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import frozen
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.neurons.estimates import ESTIMATES
from culnig_tl.neurons.layout import Key, hook_name
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.tasks.instances import Instance

STEPS = 8


def joint_path(
    model: HookedModel,
    instance: Instance,
    neurons: NeuronSet,
    *,
    steps: int = STEPS,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Each neuron's share of what masking the whole set does to log P(y|x).

    All activations of the set go from 0 to what they are, n -> alpha n, together: a neuron's share
    is the integral over alpha of n dlogP/dn at alpha n, summed over positions, where the other
    neurons of the set are at alpha times their own. The shares add up to log P(n) - log P(0), the
    effect of the set, whatever the neurons do to each other: the integral is that of the derivative
    along the path (Aumann-Shapley values; integrated gradients, arXiv 1703.01365, on neurons).
    By Gauss-Legendre quadrature.

    Where a set holds all inputs of a normalisation (all q neurons of a head in a model that
    normalises q), the path has a jump at 0 that no node sees: the shares then add up to less.

    Args:
        model: from `load_model` or `wrap_model`.
        instance: from `load_task`.
        neurons: the set, of this model.
        steps: nodes; each is a forward and a backward pass of one row.
        answer_format: `cloze`, `letter`, or `auto` (letter where there is a chat template).
        token_budget: rows x positions in a pass; None takes what fits into the free memory.

    Returns:
        One row a neuron, by layer, site, index: layer, site, index, share (nats), and, the same
        in each row, joint (log P(n) - log P(0), nats, from a true ablation of the set).

    Raises:
        CulnigError: fewer than one step, an empty set or one of another model, or activations,
            gradients or log P that are NaN or infinite.

    Example:
        `model` is a tiny random one, and `few` a set of four of its neurons.

        >>> path = joint_path(model, instances[0], few)
        >>> bool(abs(path["share"].sum() - path["joint"].iloc[0]) < 1e-3)
        True
    """
    check_count("steps", steps, least=1)
    check_neurons(model, neurons)
    (prompt,) = model_prompts(model, [instance], answer_format=answer_format)
    values, base = _activations(model, prompt, neurons)
    length = len(prompt.sequence)
    if token_budget is None:
        token_budget = fitting_budget(model, length)
    at_once = max(1, token_budget // length)
    alphas, weights = quadrature(steps)
    total = np.zeros(len(neurons))
    with frozen(model):
        for start in range(0, steps, at_once):
            here = slice(start, start + at_once)
            slopes = _slopes(model, prompt, neurons, values=values, alphas=alphas[here])
            total += weights[here] @ slopes
        with torch.no_grad():
            masked = _scaled(model, prompt, neurons, values=values, alphas=torch.zeros(1))
    return neurons.frame().assign(share=total, joint=base - float(masked))


def path_sums(
    model: HookedModel,
    instances: Sequence[Instance],
    neurons: NeuronSet,
    *,
    steps: int = STEPS,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
) -> pd.DataFrame:
    """What a set's shares add up to, beside its true effect and the sums of one-pass estimates.

    Returns:
        One row an instance: set, instance, question, each of `ESTIMATES` (its sum over the set),
        shares (their sum, `joint_path`) and joint (the true effect); all in nats of log P.

    Raises:
        CulnigError: as `joint_path`.
    """
    rows = []
    for instance in instances:
        (prompt,) = model_prompts(model, [instance], answer_format=answer_format)
        path = joint_path(
            model,
            instance,
            neurons,
            steps=steps,
            answer_format=answer_format,
            token_budget=token_budget,
        )
        sums = {
            estimate: position_shares(model, prompt, neurons, estimate=estimate)[0].sum()
            for estimate in ESTIMATES
        }
        about = {"set": neurons.name, "instance": instance.id, "question": instance.question_key}
        rows.append(about | sums | {"shares": path["share"].sum(), "joint": path["joint"].iloc[0]})
    return pd.DataFrame(rows)


def _activations(
    model: HookedModel, prompt: Prompt, neurons: NeuronSet
) -> tuple[dict[Key, Tensor], float]:
    """[pos, neuron] of the set at each (layer, site), and log P(y|x)."""
    found: dict[Key, Tensor] = {}
    with frozen(model), torch.no_grad():
        base = float(log_probability(model, prompt, hooks=keep_hooks(neurons, found)))
    check_finite(list(found.values()), [name_of(prompt)] * len(found), "activations")
    return found, base


def _scaled(
    model: HookedModel,
    prompt: Prompt,
    neurons: NeuronSet,
    *,
    values: dict[Key, Tensor],
    alphas: Tensor,
    leaves: dict[Key, Tensor] | None = None,
) -> Tensor:
    """log P(y|x) with the set at each of `alphas` times `values`: [alpha].

    The blocks before the set's first run once for all; `leaves`, where given, gets what was put
    in place, [alpha, pos, neuron], with gradients.
    """
    rows = len(alphas)

    def put(key: Key, index: np.ndarray) -> Callable[..., Tensor]:
        def hook_function(activation: Tensor, hook: Any) -> Tensor:
            flat = activation.flatten(2).clone()
            scaled = values[key] * alphas[:, None, None].to(values[key])
            if leaves is not None:
                leaves[key] = scaled.requires_grad_()
            flat[:, :, torch.tensor(index)] = scaled
            return flat.view(activation.shape)

        return hook_function

    by_site = neurons.by_site()
    first = min(layer for layer, _ in by_site)
    hooks: list[tuple[str, Any]] = [
        (f"blocks.{first}.hook_resid_pre", lambda x, hook: x.repeat(rows, 1, 1))
    ]
    hooks += [(hook_name(*key), put(key, index)) for key, index in by_site.items()]
    return log_probability(model, prompt, rows=rows, hooks=hooks)


def _slopes(
    model: HookedModel,
    prompt: Prompt,
    neurons: NeuronSet,
    *,
    values: dict[Key, Tensor],
    alphas: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """n dlogP/dn at each alpha, summed over positions: [alpha, neuron], by layer, site, index."""
    leaves: dict[Key, Tensor] = {}
    log_p = _scaled(
        model, prompt, neurons, values=values, alphas=torch.tensor(alphas), leaves=leaves
    )
    keys = list(neurons.by_site())
    gradients = torch.autograd.grad(log_p.sum(), [leaves[key] for key in keys])
    check_finite(gradients, [name_of(prompt)] * len(gradients), "gradients")
    products = [
        (values[key].double() * gradient.double()).sum(dim=1)
        for key, gradient in zip(keys, gradients, strict=True)
    ]
    return torch.cat([product.cpu() for product in products], dim=1).numpy()
