"""Batches of token sequences, padded on the left, sized by a budget of tokens."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from culnig_tl.errors import CulnigError


@dataclass(frozen=True)
class Batch:
    """Sequences of nearly equal length.

    Attributes:
        rows: which of the sequences, in the order of the batch.
        tokens: token ids, padded on the left.
        mask: 1 where a token is real.
    """

    rows: tuple[int, ...]
    tokens: Int[Tensor, "batch pos"]
    mask: Int[Tensor, "batch pos"]


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Group rows, longest first, so that rows x longest stays within the budget (at least one row).

    Raises:
        CulnigError: a budget below 1.
    """
    if token_budget < 1:
        raise CulnigError(f"token budget {token_budget}: give 1 or more (2048 is usual)")
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    groups: list[list[int]] = []
    for row in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= token_budget:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def batch_costs(plan: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[int]:
    """How many tokens each batch of a plan has, without padding."""
    return [sum(lengths[row] for row in rows) for rows in plan]


def pad_batch(
    sequences: Sequence[Sequence[int]], rows: Sequence[int], tokenizer: Any, device: Any
) -> Batch:
    """The sequences `rows` as one batch, padded on the left."""
    pad = next(x for x in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if x is not None)
    width = max(len(sequences[row]) for row in rows)
    tokens = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for i, row in enumerate(rows):
        sequence = sequences[row]
        tokens[i, width - len(sequence) :] = torch.tensor(sequence)
        mask[i, width - len(sequence) :] = 1
    return Batch(tuple(rows), tokens.to(device), mask.to(device))


def flat_positions(ends: Sequence[tuple[int, int]], width: int, device: Any) -> Int[Tensor, "kept"]:
    """Indices into the flattened [batch * width] of the last `count` positions up to `end`.

    `ends` holds (end, count) for each row of the batch; `end` is exclusive.
    """
    flat = [i * width + p for i, (end, n) in enumerate(ends) for p in range(end - n, end)]
    return torch.tensor(flat, dtype=torch.long, device=device)


@contextlib.contextmanager
def memory_errors(rows: Sequence[int], lengths: Sequence[int], token_budget: int) -> Iterator[None]:
    """Say what to lower when memory runs out on the batch `rows`.

    Raises:
        CulnigError: instead of the several errors that running out of memory raises.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # On the CPU it is a plain RuntimeError, known by its words alone.
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "memory" not in str(error).lower():
            raise
        longest = max(lengths[row] for row in rows)
        raise CulnigError(
            f"out of memory on a batch of {len(rows)} x {longest} tokens: lower token_budget "
            f"(--token-budget), now {token_budget}"
        ) from error
