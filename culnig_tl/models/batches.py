"""Batches of token sequences, padded on the left, sized by a budget of tokens."""

import logging
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psutil
import torch
from jaxtyping import Int
from torch import Tensor

from culnig_tl.checks import check_count
from culnig_tl.errors import CulnigError
from culnig_tl.models.choices import HookedModel
from culnig_tl.processes import process_count
from culnig_tl.progress import progress_bar

T = TypeVar("T")
_log = logging.getLogger(__name__)
# Beside the classes of their own, some allocators raise a plain RuntimeError: of the CPU (Linux,
# Windows), CUDA and MPS without torch's class for it, and cuBLAS and cuDNN for their workspace.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory: you tried to allocate",
    "cuda out of memory",
    "cuda error: out of memory",
    "mps backend out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
# Larger batches bring nothing: measured on the CPU, a guess for accelerators.
MOST_TOKENS = {"cpu": 1024, "cuda": 16384}


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


def group_rows(rows: Sequence[int], lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Group rows, longest first, so that rows x longest stays within the budget (at least one row).

    `lengths` holds those of all rows, also of those that are not in `rows`.
    """
    order = sorted(rows, key=lambda row: (-lengths[row], row))
    groups: list[list[int]] = []
    for row in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= token_budget:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def in_batches(
    rows: Sequence[int],
    lengths: Sequence[int],
    token_budget: int,
    *,
    work: Callable[[list[int]], T],
    what: str,
    grouping: Callable[[Sequence[int], Sequence[int], int], list[list[int]]] = group_rows,
    places: Sequence[Sequence[int]] | None = None,
) -> Iterator[tuple[list[int], T]]:
    """Call `work` with the rows of each batch in turn; yields them and what it returned.

    When memory runs out, half the tokens are taken from there on, once. So `work` must not change
    anything that a second call with the same rows would see.

    Args:
        what: the name of the work, for the progress bar; empty for no bar.
        grouping: makes the batches.
        places: what was asked for each row, as `alike` gives it, for the bar, which counts that
            and says how much of it is different; None: a row each.

    Raises:
        CulnigError: a budget below 1, or memory that runs out a second time.
    """
    check_count("token budget", token_budget, least=1, unit="(1024 is usual)")
    halved = False
    groups = grouping(rows, lengths, token_budget)
    asked = [1] * len(lengths) if places is None else list(map(len, places))
    name = told(what, places) if what and places is not None else what
    with progress_bar(name, sum(asked[row] for row in rows)) as advance:
        while groups:
            group, tokens = groups[0], len(groups[0]) * max(lengths[row] for row in groups[0])
            try:
                found = work(group)
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                if halved or len(group) == 1:
                    raise CulnigError(
                        f"out of memory on a batch of {len(group)} x {tokens // len(group)} "
                        f"tokens: lower token_budget (--token-budget), now {token_budget}"
                    ) from error
                halved = True
            else:
                groups = groups[1:]
                yield group, found
                advance(sum(asked[row] for row in group))
                continue
            # Not within `except`, which would keep the tensors of the failed call.
            _log.warning("out of memory on %d tokens: going on with half of them", tokens)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            token_budget = tokens // 2
            groups = grouping([row for group in groups for row in group], lengths, token_budget)


def _out_of_memory(error: Exception) -> bool:
    """Whether a smaller batch would help: not so after an illegal memory access, for one."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def fitting_budget(
    model: HookedModel, longest: int, *, gradients: bool = True, cached: int = 0
) -> int:
    """How many tokens a batch may have: half of the free memory, and no more than bring speed.

    Args:
        longest: tokens of the longest sequence.
        gradients: whether a backward pass follows; without one twice as many are of use.
        cached: for how many tokens the keys and values of every layer are kept for each token of
            the batch: 1 for those of the batch, and more for copies of them.
    """
    cfg = model.cfg
    device = torch.device(cfg.device or "cpu")
    most = MOST_TOKENS["cuda" if device.type == "cuda" else "cpu"] * (1 if gradients else 2)
    layers = cfg.n_layers if gradients else 1
    width = (cfg.dtype or torch.float32).itemsize
    each = token_bytes(
        layers,
        cfg.d_model,
        cfg.d_mlp,
        heads=cfg.n_heads,
        d_vocab=cfg.d_vocab,
        width=width,
        longest=longest,
    )
    heads = cfg.n_key_value_heads or cfg.n_heads
    each += cached * key_value_bytes(cfg.n_layers, heads, cfg.d_head, width=width)
    return max(longest, min(most, int(_free_bytes(device) / 2 / each)))


def token_bytes(
    layers: int, d_model: int, d_mlp: int, *, heads: int, d_vocab: int, width: int, longest: int
) -> float:
    """About how many bytes a token of a batch takes, of which `layers` layers are kept at a time.

    A layer keeps about 4 MLP widths and 12 model widths in the model's type (`width` bytes), and
    the attention pattern of each head in float32, 3 times. Logits are counted for every 16th
    token, 3 times in float32.
    """
    kept = layers * (width * (4 * d_mlp + 12 * d_model) + 12 * heads * longest)
    return kept + 12 * d_vocab / 16


def key_value_bytes(layers: int, heads: int, d_head: int, *, width: int) -> int:
    """How many bytes the keys and values of a token take in a cache of all layers."""
    return 2 * layers * heads * d_head * width


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if process_count() > 1 else 1
    return psutil.virtual_memory().available // here


def padding_token(tokenizer: Any) -> int:
    """The token that stands where there is none."""
    return next(x for x in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if x is not None)


def pad_batch(
    sequences: Sequence[Sequence[int]], rows: Sequence[int], tokenizer: Any, *, device: Any
) -> Batch:
    """The sequences `rows` as one batch, padded on the left."""
    pad = padding_token(tokenizer)
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


def alike(keys: Iterable[Hashable]) -> list[list[int]]:
    """The places of each different key, in the order in which they first come: rows that are the
    same are run once.

    Example:
        >>> alike(["a", "b", "a"])
        [[0, 2], [1]]
    """
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return list(places.values())


def covers(sequences: Iterable[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """For each sequence, the longest one of all that begins with it.

    What runs through the model for the longest one holds what the other needs.

    Example:
        >>> covers([(1,), (1, 2), (3,)]) == {(1, 2): (1, 2), (1,): (1, 2), (3,): (3,)}
        True
    """
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    longest: tuple[int, ...] = ()
    for sequence in sorted(set(sequences), reverse=True):
        if longest[: len(sequence)] != sequence:
            longest = sequence
        found[sequence] = longest
    return found


def told(what: str, groups: Sequence[Sequence[int]]) -> str:
    """The name of a work for its progress bar, and how much of it is different."""
    every = sum(map(len, groups))
    return what if len(groups) == every else f"{what} ({len(groups):,} of {every:,} different)"
