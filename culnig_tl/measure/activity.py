"""Activity: on which tokens of plain texts neurons are active."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.measure.windows import Window, cut_windows
from culnig_tl.models.batches import alike, fitting_budget, pad_batch
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import (
    describe_model,
    identity_of,
    layout_of,
    tokenizer_of,
)
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import frozen, kept_residuals
from culnig_tl.models.hooks import hooked
from culnig_tl.models.sums import add_batches
from culnig_tl.neurons.lape import ActivationShares
from culnig_tl.neurons.layout import NeuronLayout, hook_name
from culnig_tl.provenance import package_versions, sha256_of


def activation_shares(
    model: HookedModel,
    texts: Mapping[str, Sequence[str]],
    *,
    context: int = 128,
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
) -> ActivationShares:
    """The share of real tokens on which each gate neuron is active, by group of texts.

    Active: the gate's activation after its non-linearity is above 0, which for SiLU and GELU is
    where the gate itself (`mlp.hook_pre`) is. A group's texts are joined by line breaks and cut
    into windows of `context` tokens, each behind the model's token for the beginning of a text;
    that token and padding do not count.

    Args:
        model: from `load_model` or `wrap_model`.
        texts: by language or culture.
        context: tokens of text in a window.
        token_budget: tokens in a batch, padding included; None takes what fits.
        checkpoint: a file that keeps the counts every `checkpoint_seconds`; a run that died goes
            on from it.

    Raises:
        CulnigError: no group, a group without text, a context below 1, a checkpoint of another
            run, a hook that never fired, not enough memory, or activations that are NaN or
            infinite (with the group's name).

    Example:
        `model` is a tiny random one, and `texts` some by group.

        >>> shares = activation_shares(model, texts, context=8)
        >>> shares.groups, shares.active.shape
        (('food', 'drink'), (2, 144))
    """
    windows = cut_windows(model, texts, context)
    layout = layout_of(model)
    provenance = {
        "versions": package_versions(),
        "model": describe_model(model),
        "texts": {"groups": list(texts), "hash": _hash(texts)},
        "arguments": {"context": context},
    }
    tokens = tuple(sum(len(w.text) for w in windows if w.group == row) for row in range(len(texts)))
    width = layout.size("gate")
    active = torch.zeros(
        len(texts), layout.n_layers, width, dtype=torch.int64, device=model.cfg.device
    )
    groups = alike((tuple(w.begin), tuple(w.text)) for w in windows)
    different = [windows[places[0]] for places in groups]
    lengths = [len(w.tokens) for w in different]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)

    def work(rows: list[int]) -> Tensor:
        return _count(model, [different[row] for row in rows], layout)

    with frozen(model), torch.no_grad():
        for rows, found in add_batches(
            lengths,
            token_budget,
            work=work,
            sums={"active": active},
            made_from=provenance | {"model": identity_of(model), "rows": "different windows"},
            what="Activation shares",
            checkpoint=checkpoint,
            seconds=checkpoint_seconds,
            places=groups,
        ):
            standing = [
                (number, windows[place].group)
                for number, row in enumerate(rows)
                for place in groups[row]
            ]
            numbers, owners = torch.tensor(standing, device=active.device).T
            active.index_add_(0, owners, found.to(active.device)[numbers])
    return ActivationShares(
        layout=layout,
        groups=tuple(texts),
        tokens=tokens,
        active=active.flatten(1).cpu().numpy(),
        provenance=provenance,
    )


def _count(
    model: HookedModel, windows: Sequence[Window], layout: NeuronLayout
) -> Int[Tensor, "batch layer gate"]:
    """On how many tokens of each window each gate neuron is active."""
    tokens = [w.tokens for w in windows]
    batch = pad_batch(tokens, range(len(windows)), tokenizer_of(model), device=model.cfg.device)
    width = batch.tokens.shape[1]
    real = torch.zeros_like(batch.mask, dtype=torch.bool)
    for row, window in enumerate(windows):
        real[row, width - len(window.text) :] = True

    def counter(layer: int) -> Any:
        def hook_function(activation: Tensor, hook: Any) -> None:
            active = (activation > 0) & real[:, :, None].to(activation.device)
            found[layer] = active.sum(dim=1).to(real.device)
            there = activation.masked_fill(~real[:, :, None].to(activation.device), 0)
            largest[layer] = there.abs().amax(dim=(1, 2)).to(real.device)

        return hook_function

    found: dict[int, Tensor] = {}
    largest: dict[int, Tensor] = {}
    layers = range(layout.n_layers)
    nothing = torch.empty(0, dtype=torch.long, device=model.cfg.device)
    with hooked(model, [(hook_name(layer, "gate"), counter(layer)) for layer in layers]):
        kept_residuals(model, batch.tokens, batch.mask, keep=nothing)
    silent = [layer for layer in layers if layer not in found]
    if silent:
        raise CulnigError(
            f"hook {hook_name(silent[0], 'gate')} never fired: this model class and version of "
            "transformer-lens cannot be counted"
        )
    most = torch.stack([largest[layer] for layer in layers], dim=1)  # NaN where one is
    check_finite(most, [window.name for window in windows], "activations")
    return torch.stack([found[layer] for layer in layers], dim=1)


def _hash(texts: Mapping[str, Sequence[str]]) -> str:
    return sha256_of({group: list(parts) for group, parts in texts.items()})
