"""Perplexity of plain texts by group, with neurons masked or without."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.evaluation import token_log_probabilities
from culnig_tl.measure.reference import Reference
from culnig_tl.measure.windows import cut_windows
from culnig_tl.models.batches import (
    alike,
    fitting_budget,
    flat_positions,
    in_batches,
    pad_batch,
)
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import (
    tokenizer_of,
)
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import frozen, kept_residuals
from culnig_tl.neurons.estimates import Values
from culnig_tl.neurons.sets import NeuronSet
from culnig_tl.processes import add_up, my_share


def perplexity(
    model: HookedModel,
    texts: Mapping[str, Sequence[str]],
    neurons: NeuronSet | None = None,
    *,
    values: Values = "zero",
    reference: Reference | None = None,
    context: int = 128,
    token_budget: int | None = None,
) -> pd.DataFrame:
    """Perplexity of each group's texts, with `neurons` masked: e to the mean of -ln P(token).

    Or with other prompts' activations in their place (`values`, `reference`, as in `ablate`).

    Texts are cut into windows as in `activation_shares`; a window's first token is predicted from
    the beginning of the text, or not at all by a model that has no token for it.

    Returns:
        One row a group: tokens (predicted ones), nats (mean -ln P a token), perplexity.

    Raises:
        CulnigError: as `activation_shares`; a set of another model; a group in which no token is
            predicted; log-probabilities that are NaN or infinite.

    Example:
        `model` is a tiny random one, and `texts` some by group.

        >>> perplexity(model, texts, context=8)["perplexity"].gt(1).to_dict()
        {'food': True, 'drink': True}
    """
    windows = cut_windows(model, texts, context)
    for group, name in enumerate(texts):
        if all(len(w.tokens) < 2 for w in windows if w.group == group):
            raise CulnigError(
                f"group {name!r} has no token that another one comes before: give longer texts, or "
                "a larger context"
            )
    groups = alike(tuple(w.tokens) for w in windows)
    different = [windows[places[0]] for places in groups]
    lengths = [len(w.tokens) for w in different]
    found = torch.zeros(2, len(texts), dtype=torch.float64)  # nats, tokens
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)

    def work(rows: list[int]) -> list[Tensor]:
        found = _next_log_probabilities(model, [different[row].tokens for row in rows])
        check_finite(found, [different[row].name for row in rows], "log-probabilities")
        return found

    changed = ablate(model, neurons, values=values, reference=reference)
    with frozen(model), torch.no_grad(), changed:
        for rows, parts in in_batches(
            my_share(lengths),
            lengths,
            token_budget,
            work=work,
            what="Perplexity",
            places=groups,
        ):
            for row, part in zip(rows, parts, strict=True):
                for place in groups[row]:
                    found[0, windows[place].group] -= float(part.double().sum())
                    found[1, windows[place].group] += len(part)
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
    *,
    context: int = 128,
    token_budget: int | None = None,
) -> pd.DataFrame:
    """How far perplexity rises: neurons' group (rows) by text's group (columns), in nats a token.

    In nats, the logarithm of perplexity's ratio, as groups differ by far in perplexity itself
    (figures 23 to 26 of the paper).

    Example:
        `model` is a tiny random one, and `texts` some by group.

        >>> perplexity_increase(model, texts, {"culture": neurons}, context=8).shape
        (1, 2)
    """
    before = perplexity(model, texts, None, context=context, token_budget=token_budget)["nats"]
    rows = {
        group: perplexity(model, texts, neurons, context=context, token_budget=token_budget)["nats"]
        - before
        for group, neurons in sets.items()
        if len(neurons)
    }
    return pd.DataFrame(rows).T.rename_axis(index="neurons", columns="texts")


def _next_log_probabilities(model: HookedModel, sequences: Sequence[list[int]]) -> list[Tensor]:
    """The log-probability of each token but the first, of each sequence, as one batch."""
    batch = pad_batch(
        sequences, range(len(sequences)), tokenizer_of(model), device=model.cfg.device
    )
    width = batch.tokens.shape[1]
    steps = [len(sequence) - 1 for sequence in sequences]
    keep = flat_positions([(width - 1, n) for n in steps], width, batch.tokens.device)
    residuals = kept_residuals(model, batch.tokens, batch.mask, keep=keep)
    next_tokens = batch.tokens.flatten()[keep + 1].to(residuals.device)
    every = torch.arange(len(keep), device=residuals.device)
    chosen, _ = token_log_probabilities(model, residuals, every, tokens=next_tokens)
    return list(chosen.split(steps))
