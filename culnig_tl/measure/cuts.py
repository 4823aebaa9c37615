"""Cuts: many neurons of one prompt changed, each in a row of its own, in one pass."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from culnig_tl.checks import check_choice
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import label_log_probability
from culnig_tl.models.hooks import hooked
from culnig_tl.models.prompts import Prompt, model_prompts
from culnig_tl.neurons.layout import Key, hook_name
from culnig_tl.neurons.sets import NeuronSet, require_same_model
from culnig_tl.tasks.instances import Instance

Positions = Literal["all", "each"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)
EVERY_POSITION = -1
# Reading a small model's weights once costs about as much as this many rows.
FEWEST_ROWS = 32


def check_neurons(model: HookedModel, neurons: NeuronSet) -> None:
    """Refuse a set of which no effect on this model can be measured.

    Raises:
        CulnigError: it is of a model with other neurons, or empty.
    """
    require_same_model(neurons, layout_of(model))
    if not len(neurons):
        raise CulnigError(f"the set {neurons.name!r} is empty: there is no effect to measure")


def one_prompt(
    model: HookedModel, instance: Instance, neurons: NeuronSet, *, answer_format: AnswerFormat
) -> Prompt:
    """The instance's prompt, after a check of the set (`check_neurons`)."""
    check_neurons(model, neurons)
    (prompt,) = model_prompts(model, [instance], answer_format=answer_format)
    return prompt


def cuts_of(
    model: HookedModel, prompt: Prompt, neurons: NeuronSet, *, positions: Positions
) -> pd.DataFrame:
    """What is ablated, one row each: layer, site, index, position, token."""
    check_choice("positions", positions, POSITIONS)
    frame = neurons.frame()
    if positions == "all":
        return frame.assign(position=EVERY_POSITION, token="")
    texts = prompt.texts(tokenizer_of(model))
    each = frame.loc[frame.index.repeat(len(texts))].reset_index(drop=True)
    return each.assign(
        position=np.tile(np.arange(len(texts)), len(frame)), token=texts * len(frame)
    )


def by_layer(cuts: pd.DataFrame) -> Callable[[Sequence[int], Sequence[int], int], list[list[int]]]:
    """How cuts, which are in the order of their layers, are put into passes (`in_batches`).

    A pass ends with a layer once it is worth its weights: its rows all run from its first layer.
    """

    def group(rows: Sequence[int], lengths: Sequence[int], token_budget: int) -> list[list[int]]:
        most = max(1, token_budget // lengths[0] - 1)  # one row without a cut
        layers = cuts["layer"].to_numpy()[list(rows)]
        ends = [0]
        for layer_end in np.flatnonzero(np.diff(layers, append=-1)) + 1:
            while layer_end - ends[-1] > most:
                ends.append(ends[-1] + most)
            if layer_end - ends[-1] >= FEWEST_ROWS or layer_end == len(rows):
                ends.append(int(layer_end))
        return [list(rows[start:end]) for start, end in pairwise(ends) if end > start]

    return group


def stacked(
    model: HookedModel,
    prompt: Prompt,
    cuts: pd.DataFrame,
    *,
    change: Callable[[Key, Tensor, Float[Tensor, "cut pos"]], Tensor],
    copies: int = 1,
) -> Float[Tensor, "row"]:
    """log P(y|x) with each cut in `copies` rows of one batch, and of one more row without a cut.

    `change` gets (layer, site), the numbers of its rows and the cut neurons' activations there,
    and gives what to put in their place. The blocks before the first cut run once for all rows:
    the batch widens at that block's input, or, where all cuts are gate neurons of one layer, at
    their own activation, as the MLP adds its output to the residual stream.
    """
    cuts = cuts.loc[cuts.index.repeat(copies)].reset_index(drop=True)
    groups: dict[Any, Any] = cuts.groupby(["layer", "site"], observed=True, sort=False).indices
    rows = len(cuts) + 1
    cut: list[Tensor] = []
    single = cuts["position"].iloc[0] != EVERY_POSITION

    def replace(key: Key, numbers: np.ndarray) -> Callable[[Tensor, Any], Tensor]:
        mine = cuts.iloc[numbers]
        row, index = torch.tensor(numbers), torch.tensor(mine["index"].to_list())
        at = torch.tensor(mine["position"].to_list()) if single else None

        def hook_function(activation: Tensor, hook: Any) -> Tensor:
            flat = activation.flatten(2).expand(rows, -1, -1).clone()
            if at is None:
                cut.append(flat[row, :, index])
                flat[row, :, index] = change(key, row, cut[-1])
            else:
                cut.append(flat[row, at, index])
                flat[row, at, index] = change(key, row, cut[-1][:, None])[:, 0]
            return flat.view(rows, *activation.shape[1:])

        return hook_function

    keys: dict[Key, Any] = {(int(layer), site): rows for (layer, site), rows in groups.items()}
    hooks: list[tuple[str, Any]] = [(hook_name(*k), replace(k, n)) for k, n in keys.items()]
    first = int(cuts["layer"].iloc[0])
    if list(keys) != [(first, "gate")]:
        widen = (f"blocks.{first}.hook_resid_pre", lambda x, hook: x.repeat(rows, 1, 1))
        hooks.insert(0, widen)
    found = log_probability(model, prompt, rows=rows, hooks=hooks)
    check_finite(cut, [name_of(prompt)] * len(cut), "activations")
    return found


def ablated(model: HookedModel, prompt: Prompt, cuts: pd.DataFrame) -> np.ndarray:
    """[2, cut]: log P(n), and log P with the cut at 0, in one pass."""
    found = stacked(model, prompt, cuts, change=lambda key, row, n: torch.zeros_like(n))
    log_p = found.double().cpu().numpy()
    return np.stack([np.full(len(cuts), log_p[-1]), log_p[:-1]])


def quadrature(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre quadrature from 0 to 1.

    Example:
        >>> nodes, weights = quadrature(1)
        >>> nodes.tolist(), weights.tolist()
        ([0.5], [1.0])
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def keep_hooks(neurons: NeuronSet, found: dict[Key, Tensor]) -> list[tuple[str, Any]]:
    """Hooks that put a set's activations on a single prompt into `found`: [pos, neuron]."""

    def keep(key: Key, index: np.ndarray) -> Callable[..., None]:
        def hook_function(activation: Tensor, hook: Any) -> None:
            found[key] = activation[0].flatten(1)[:, torch.tensor(index)]

        return hook_function

    return [(hook_name(*key), keep(key, index)) for key, index in neurons.by_site().items()]


def effects_in(log_p: Float[np.ndarray, "2 cut"]) -> dict[str, np.ndarray]:
    """The columns probability (P(n)), exact (P(n) - P(n = 0)) and nats (the same of log P)."""
    before, after = np.exp(log_p)
    return {"probability": before, "exact": before - after, "nats": log_p[0] - log_p[1]}


def log_probability(
    model: HookedModel,
    prompt: Prompt,
    *,
    rows: int = 1,
    hooks: Sequence[tuple[str, Any]] = (),
) -> Float[Tensor, "rows"]:
    """log P(y|x) of one unpadded prompt; with `hooks` that widen the batch, of each of its rows.

    Raises:
        CulnigError: one is NaN or infinite.
    """
    tokens = torch.tensor([prompt.sequence], device=model.cfg.device)
    with hooked(model, hooks):
        found = label_log_probability(model, tokens, None, labels=[prompt.label] * rows)
    check_finite(found[None], [name_of(prompt)], "log-probabilities")
    return found


def name_of(prompt: Prompt) -> str:
    """What messages call it."""
    return f"instance {prompt.instance.id}"
