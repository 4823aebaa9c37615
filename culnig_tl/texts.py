"""Plain texts by group: on which tokens neurons are active, and perplexity with some masked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from culnig_tl.ablation import ablate
from culnig_tl.attribution import frozen
from culnig_tl.batches import fitting_budget, flat_positions, in_batches, pad_batch
from culnig_tl.checkpoints import add_batches
from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.evaluation import token_log_probabilities
from culnig_tl.files import package_versions, sha256_of
from culnig_tl.finite import check_finite
from culnig_tl.lape import Shares
from culnig_tl.models import (
    HookedModel,
    describe_model,
    identity_of,
    kept_residuals,
    layout_of,
    position_limit,
    tokenizer_of,
)
from culnig_tl.neurons import NeuronLayout, NeuronSet, hook_name
from culnig_tl.processes import add_up, my_share
from culnig_tl.prompts import check_lengths


def activation_shares(
    model: HookedModel,
    texts: Mapping[str, Sequence[str]],
    context: int = 128,
    token_budget: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
) -> Shares:
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
    """
    windows = _windows(model, texts, context)
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
    lengths = [len(w.tokens) for w in windows]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)

    def work(rows: list[int]) -> Tensor:
        return _count(model, [windows[row] for row in rows], layout)

    def add(rows: list[int], found: Tensor) -> None:
        groups = torch.tensor([windows[row].group for row in rows], device=active.device)
        active.index_add_(0, groups, found.to(active.device))

    with frozen(model), torch.no_grad():
        add_batches(
            lengths,
            token_budget,
            work,
            add,
            {"active": active},
            provenance | {"model": identity_of(model)},
            "Activation shares",
            checkpoint,
            checkpoint_seconds,
        )
    return Shares(layout, tuple(texts), tokens, active.flatten(1).cpu().numpy(), provenance)


def perplexity(
    model: HookedModel,
    texts: Mapping[str, Sequence[str]],
    neurons: NeuronSet | None = None,
    context: int = 128,
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Perplexity of each group's texts, with `neurons` masked: e to the mean of -ln P(token).

    Texts are cut into windows as in `activation_shares`; a window's first token is predicted from
    the beginning of the text, or not at all by a model that has no token for it.

    Returns:
        One row a group: tokens (predicted ones), nats (mean -ln P a token), perplexity.

    Raises:
        CulnigError: as `activation_shares`; a set of another model; a group in which no token is
            predicted; log-probabilities that are NaN or infinite.
    """
    windows = _windows(model, texts, context)
    for group, name in enumerate(texts):
        if all(len(w.tokens) < 2 for w in windows if w.group == group):
            raise CulnigError(
                f"group {name!r} has no token that another one comes before: give longer texts, or "
                "a larger context"
            )
    lengths = [len(w.tokens) for w in windows]
    found = torch.zeros(2, len(texts), dtype=torch.float64)  # nats, tokens
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)

    def work(rows: list[int]) -> list[Tensor]:
        found = _next_log_probabilities(model, [windows[row].tokens for row in rows])
        check_finite(found, [windows[row].name for row in rows], "log-probabilities")
        return found

    with frozen(model), torch.no_grad(), ablate(model, neurons):
        for rows, parts in in_batches(my_share(lengths), lengths, token_budget, work, "Perplexity"):
            for row, part in zip(rows, parts, strict=True):
                found[0, windows[row].group] -= float(part.double().sum())
                found[1, windows[row].group] += len(part)
    add_up(found)
    sums, counts = found[0].numpy(), found[1].numpy().astype(int)
    nats = sums / counts
    with np.errstate(over="ignore"):
        powers = np.exp(nats)
    check_finite(torch.from_numpy(powers), [f"group {name!r}" for name in texts], "perplexities")
    return pd.DataFrame(
        {"tokens": counts, "nats": nats, "perplexity": powers}, index=list(texts)
    ).rename_axis("group")


def perplexity_increase(
    model: HookedModel,
    texts: Mapping[str, Sequence[str]],
    sets: Mapping[str, NeuronSet],
    context: int = 128,
    token_budget: int | None = None,
) -> pd.DataFrame:
    """How far perplexity rises: neurons' group (rows) by text's group (columns), in nats a token.

    In nats, the logarithm of perplexity's ratio, as groups differ by far in perplexity itself
    (figures 23 to 26 of the paper).
    """
    before = perplexity(model, texts, None, context, token_budget)["nats"]
    rows = {
        group: perplexity(model, texts, neurons, context, token_budget)["nats"] - before
        for group, neurons in sets.items()
        if len(neurons)
    }
    return pd.DataFrame(rows).T.rename_axis(index="neurons", columns="texts")


class _Window:
    """Some tokens of one group's text behind those that begin a text."""

    def __init__(self, group: int, name: str, begin: list[int], text: list[int]) -> None:
        self.group, self.name, self.text, self.tokens = group, name, text, begin + text


def _windows(model: HookedModel, texts: Mapping[str, Sequence[str]], context: int) -> list[_Window]:
    check_count("context", context, 1, unit="tokens")
    if not texts:
        raise CulnigError("no texts: give one group or more")
    tokenizer = tokenizer_of(model)
    begin = [t for t in tokenizer("")["input_ids"] if t == tokenizer.bos_token_id]
    windows = []
    for group, (name, parts) in enumerate(texts.items()):
        lines = [f"{part}\n" for part in parts if part.strip()]
        if not lines:
            raise CulnigError(f"group {name!r} has no text: give some, or leave it out")
        tokenised = tokenizer(lines, add_special_tokens=False)["input_ids"]
        flat = [token for line in tokenised for token in line]
        if not flat:
            raise CulnigError(f"group {name!r} has no token: give it a text, or leave it out")
        longest = min(context, len(flat)) + len(begin)
        check_lengths(position_limit(model), [(f"a window of context {context}", longest)])
        windows += [
            _Window(group, f"group {name!r}, token {start}", begin, flat[start : start + context])
            for start in range(0, len(flat), context)
        ]
    return windows


def _next_log_probabilities(model: HookedModel, sequences: Sequence[list[int]]) -> list[Tensor]:
    """The log-probability of each token but the first, of each sequence, as one batch."""
    batch = pad_batch(sequences, range(len(sequences)), tokenizer_of(model), model.cfg.device)
    width = batch.tokens.shape[1]
    steps = [len(sequence) - 1 for sequence in sequences]
    keep = flat_positions([(width - 1, n) for n in steps], width, batch.tokens.device)
    residuals = kept_residuals(model, batch.tokens, batch.mask, keep)
    next_tokens = batch.tokens.flatten()[keep + 1].to(residuals.device)
    every = torch.arange(len(keep), device=residuals.device)
    chosen, _ = token_log_probabilities(model, residuals, every, next_tokens)
    return list(chosen.split(steps))


def _count(
    model: HookedModel, windows: Sequence[_Window], layout: NeuronLayout
) -> Int[Tensor, "batch layer gate"]:
    """On how many tokens of each window each gate neuron is active."""
    tokens = [w.tokens for w in windows]
    batch = pad_batch(tokens, range(len(windows)), tokenizer_of(model), model.cfg.device)
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
    with model.hooks(fwd_hooks=[(hook_name(layer, "gate"), counter(layer)) for layer in layers]):
        kept_residuals(model, batch.tokens, batch.mask, nothing)
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
