"""Greedy generation with neurons masked: batched, padded on the left, keys and values cached."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.measure.ablation import ablate
from culnig_tl.measure.reference import Reference
from culnig_tl.models.batches import alike, fitting_budget, in_batches, pad_batch
from culnig_tl.models.caches import PrefixCache
from culnig_tl.models.choices import HookedModel
from culnig_tl.models.description import model_end_tokens, position_limit, tokenizer_of
from culnig_tl.models.finite import check_finite
from culnig_tl.models.forward import frozen, kept_logits
from culnig_tl.models.prompts import check_lengths
from culnig_tl.neurons.estimates import Values
from culnig_tl.neurons.sets import NeuronSet


def generate(
    model: HookedModel,
    sequences: Sequence[Sequence[int]],
    neurons: NeuronSet | None = None,
    *,
    factor: float = 0.0,
    values: Values = "zero",
    reference: Reference | None = None,
    max_new_tokens: int = 512,
    stop: Callable[[str], bool] | None = None,
    token_budget: int | None = None,
    names: Sequence[str] | None = None,
) -> list[list[int]]:
    """What greedy decoding writes behind each sequence, with `neurons` multiplied by `factor`.

    Equal to decoding one sequence at a time without a cache under the same hooks, within float
    rounding. A sequence ends with an end-of-text or end-of-turn token (which is left out), when
    `stop` says so, or after `max_new_tokens`; those that have ended are dropped from the batch.

    Args:
        model: from `load_model` or `wrap_model`.
        sequences: token ids, each at least one.
        stop: asked after each token with the text that was written so far.
        factor, values, reference: what `neurons` do instead, as in `ablate`.
        token_budget: tokens in a batch, what is written included; None takes what fits.
        names: of the sequences, for messages.

    Returns:
        The new token ids of each sequence, in their order.

    Raises:
        CulnigError: an empty sequence, one that does not leave `max_new_tokens` of the model's
            positions, `max_new_tokens` below 1, a set of another model, not enough memory, or
            logits that are NaN or infinite.

    Example:
        `model` is a tiny random one, which reads and writes token ids.

        >>> (written,) = generate(model, [[3, 4, 5]], max_new_tokens=2)
        >>> len(written) <= 2
        True
    """
    check_count("max_new_tokens", max_new_tokens, least=1)
    empty = [number for number, sequence in enumerate(sequences) if not len(sequence)]
    if empty:
        raise CulnigError(f"sequence {empty[0]} has no token: give a prompt")
    if names is None:
        names = [f"sequence {number}" for number in range(len(sequences))]
    check_lengths(
        position_limit(model),
        (
            (
                f"{name}, {len(sequence)} tokens with max_new_tokens {max_new_tokens}",
                len(sequence) + max_new_tokens - 1,  # the last is not read again
            )
            for name, sequence in zip(names, sequences, strict=True)
        ),
    )
    groups = alike(map(tuple, sequences))
    different = [sequences[places[0]] for places in groups]
    lengths = [len(sequence) + max_new_tokens for sequence in different]
    named = [names[places[0]] for places in groups]
    if token_budget is None:
        # The cache is copied when a sequence ends and is dropped from the batch.
        token_budget = fitting_budget(model, max(lengths, default=1), gradients=False, cached=2)

    def work(rows: list[int]) -> dict[int, list[int]]:
        return _write(model, different, rows, max_new_tokens=max_new_tokens, stop=stop, names=named)

    written: dict[int, list[int]] = {}
    changed = ablate(model, neurons, factor=factor, values=values, reference=reference)
    with frozen(model), torch.no_grad(), changed:
        for _, found in in_batches(
            range(len(different)),
            lengths,
            token_budget,
            work=work,
            what="Generation",
            places=groups,
        ):
            written |= found
    row_of = {place: row for row, places in enumerate(groups) for place in places}
    return [list(written[row_of[place]]) for place in range(len(sequences))]


def end_tokens(model: HookedModel) -> set[int]:
    """The tokens that end a text or a turn of a chat: the tokenizer's, those that the model's
    configuration and `generation_config` name, and those by which chats are known to end."""
    tokenizer = tokenizer_of(model)
    known = {tokenizer.eos_token_id, *model_end_tokens(model)}
    # Chat models end a turn with a token of their own, which is not always the tokenizer's end.
    for text in ("<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<|endoftext|>"):
        token = tokenizer.convert_tokens_to_ids(text)
        if token is not None and token != tokenizer.unk_token_id:
            known.add(token)
    return {int(token) for token in known if token is not None}


def _write(
    model: HookedModel,
    sequences: Sequence[Sequence[int]],
    rows: Sequence[int],
    *,
    max_new_tokens: int,
    stop: Callable[[str], bool] | None,
    names: Sequence[str],
) -> dict[int, list[int]]:
    """What is written behind the sequences `rows`, as one batch."""
    tokenizer, device = tokenizer_of(model), model.cfg.device
    ends = end_tokens(model)
    batch = pad_batch(sequences, rows, tokenizer, device=device)
    tokens, mask = batch.tokens, batch.mask
    cache = PrefixCache(model, len(rows))
    open_rows = list(rows)
    written: dict[int, list[int]] = {row: [] for row in rows}

    def is_open(row: int, token: int) -> bool:
        if token in ends:
            return False
        written[row].append(token)
        if len(written[row]) == max_new_tokens:
            return False
        return stop is None or not stop(tokenizer.decode(written[row]))

    while True:
        width = tokens.shape[1]
        last = torch.arange(1, len(open_rows) + 1, device=device) * width - 1
        highest, chosen = kept_logits(model, tokens, mask, keep=last, cache=cache).max(dim=1)
        # The highest is NaN where any logit is; one of minus infinity only forbids its token.
        check_finite(highest, [names[row] for row in open_rows], "logits")
        found: list[Any] = list(zip(open_rows, chosen.tolist(), strict=True))
        going = [place for place, (row, token) in enumerate(found) if is_open(row, token)]
        if not going:
            return written
        if len(going) < len(open_rows):
            places = torch.tensor(going, device=device)
            cache, chosen = cache.take(places), chosen[places]
            open_rows = [open_rows[place] for place in going]
        tokens = chosen[:, None]
        mask = torch.ones_like(tokens)
