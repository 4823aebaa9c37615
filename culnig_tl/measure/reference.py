"""Reference activations: what neurons do on other prompts, to put in the place of their own."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from culnig_tl.checks import SEED_MOST, check_count
from culnig_tl.errors import CulnigError
from culnig_tl.models.batches import fitting_budget, group_rows, pad_batch, padding_token
from culnig_tl.models.choices import AnswerFormat, HookedModel
from culnig_tl.models.description import layout_of, tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import at_least_float32, frozen, kept_residuals
from culnig_tl.models.hooks import hooked
from culnig_tl.models.prompts import model_prompts
from culnig_tl.neurons.layout import Key, NeuronLayout, hook_name
from culnig_tl.tasks.instances import Instance

ROWS = 256


@dataclass(frozen=True, repr=False)
class Reference:
    """What every neuron does at the positions of some prompts, as `ablate` puts it in place.

    The beginning-of-text token is no such position, and keeps its own activations: it comes first,
    so they are the same in every prompt.

    Attributes:
        layout: the model's neurons.
        mean: over all positions, [neuron] by (layer, site).
        drawn: at some of the positions, [row, neuron] by (layer, site); a row is one position.
        begin: the beginning-of-text token; None where the tokenizer has none.
        seed: of which position stands for which.
        vocabulary: how many tokens the model knows.
        padding: the padding token, which is no part of a prompt.
    """

    layout: NeuronLayout
    mean: dict[Key, Float[Tensor, "_"]]
    drawn: dict[Key, Float[Tensor, "row _"]]
    begin: int | None
    seed: int
    vocabulary: int
    padding: int

    def rows_of(self, tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
        """Which row of `drawn` each position gets: told by all tokens up to it, and the seed.

        So it does not depend on what else is in the batch, and two prompts that end in the same
        word get other rows there.
        """
        count = len(next(iter(self.drawn.values())))
        return self._steps.to(tokens.device)[tokens].cumsum(dim=1) % count

    @functools.cached_property
    def _steps(self) -> Int[Tensor, "d_vocab"]:
        numbers = np.random.default_rng(self.seed).integers(1, 2**31, size=self.vocabulary)
        numbers[self.padding] = 0
        return torch.tensor(numbers)

    def own(self, tokens: Int[Tensor, "batch pos"]) -> Tensor:
        """[batch, pos]: where activations stay what they are."""
        if self.begin is None:
            return torch.zeros_like(tokens, dtype=torch.bool)
        return tokens == self.begin

    def __repr__(self) -> str:
        return (
            f"Reference of {self.layout.total:,} neurons at "
            f"{len(next(iter(self.drawn.values())))} positions"
        )


def reference_activations(
    model: HookedModel,
    instances: Sequence[Instance],
    *,
    rows: int = ROWS,
    seed: int = 0,
    answer_format: AnswerFormat = "auto",
    token_budget: int | None = None,
) -> Reference:
    """What every neuron does on the prompts of `instances`, for `ablate(..., values="mean")`.

    Args:
        rows: so many positions at most are kept whole, for `values="resample"`: in float32 they
            take rows x neurons x 4 bytes. The mean is over all positions.
        seed: which positions are kept, and which stands for which.
        model, instances, answer_format, token_budget: as `evaluate`.

    Raises:
        CulnigError: no instances, no position but the beginning of the text, fewer than one row, a
            seed below 0, or activations that are NaN or infinite.

    Example:
        `model` is a tiny random one, and `instances` eight questions.

        >>> reference_activations(model, instances, rows=16)
        Reference of 336 neurons at 16 positions
    """
    check_count("rows", rows, least=1)
    check_count("seed", seed, most=SEED_MOST)
    layout, tokenizer = layout_of(model), tokenizer_of(model)
    prompts = model_prompts(model, instances, answer_format=answer_format)
    sequences = [list(tokens) for tokens in dict.fromkeys(p.tokens for p in prompts)]
    begin = tokenizer.bos_token_id
    real = [sum(token != begin for token in sequence) for sequence in sequences]
    if not sum(real):
        raise CulnigError("the reference prompts have no token but the beginning of a text")
    rng = np.random.default_rng(seed)
    kept = set(rng.choice(sum(real), min(rows, sum(real)), replace=False).tolist())
    first = np.cumsum([0, *real])  # the number of each sequence's first position
    lengths = [len(sequence) for sequence in sequences]
    if token_budget is None:
        token_budget = fitting_budget(model, max(lengths), gradients=False)
    sums: dict[Key, Tensor] = {}
    drawn: dict[Key, list[Tensor]] = {key: [] for key in layout.keys}
    with frozen(model), torch.no_grad():
        for group in group_rows(range(len(sequences)), lengths, token_budget):
            batch = pad_batch(
                [sequences[row] for row in group], range(len(group)), tokenizer,
                device=model.cfg.device,
            )  # fmt: skip
            where = batch.mask.bool()
            if begin is not None:
                where &= batch.tokens != begin
            numbers = np.concatenate([np.arange(first[r], first[r + 1]) for r in group])
            chosen = torch.tensor([n for n, number in enumerate(numbers) if number in kept])

            def keep(key: Key, where: Tensor = where, chosen: Tensor = chosen) -> Callable:
                def hook_function(activation: Tensor, hook: Any) -> None:
                    flat = at_least_float32(activation.flatten(2)[where.to(activation.device)])
                    sums[key] = sums.get(key, 0) + flat.sum(dim=0)
                    drawn[key].append(flat[chosen.to(flat.device)])

                return hook_function

            with hooked(model, [(hook_name(*key), keep(key)) for key in layout.keys]):
                last = torch.tensor([0], device=model.cfg.device)
                kept_residuals(model, batch.tokens, batch.mask, keep=last)
    check_finite(list(sums.values()), ["the reference"] * len(sums), "activations")
    return Reference(
        layout=layout,
        mean={key: total / sum(real) for key, total in sums.items()},
        drawn={key: torch.cat(parts) for key, parts in drawn.items()},
        begin=begin,
        seed=seed,
        vocabulary=int(model.cfg.d_vocab),
        padding=padding_token(tokenizer),
    )
