"""Batches whose results add up: counted once, though a run dies or several processes share it."""

import glob
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from culnig_tl.batches import in_batches, plan_batches
from culnig_tl.errors import CulnigError
from culnig_tl.files import process_rank, write_atomically
from culnig_tl.processes import add_up, agreed, my_share
from culnig_tl.scores import read_tensors, write_tensors

T = TypeVar("T")
_FORMAT = "culnig_tl checkpoint, version 4"


def add_batches(
    lengths: Sequence[int],
    token_budget: int,
    work: Callable[[list[int]], T],
    add: Callable[[list[int], T], None],
    sums: Mapping[str, Tensor],
    run: str,
    what: str,
    checkpoint: str | Path | None = None,
    seconds: float = 30.0,
    plan: Callable[[Sequence[int], Sequence[int], int], list[list[int]]] = plan_batches,
) -> None:
    """Call `work` with the rows of each batch, and `add` with what it gave, which adds to `sums`.

    Several processes share the rows, and all have the whole sums afterwards. The sums are kept in
    `checkpoint` every `seconds`, those of another process than the first in a file beside it; a
    run that died goes on from there, with as many processes and tokens as it then has.

    Args:
        lengths: of each row, in tokens.
        work: changes nothing, as it is called again when memory runs out (`in_batches`).
        add: adds in place.
        sums: by name, all 0 at first.
        run: a hash of everything on which the results depend.
        what: the name of the work, for the progress bar.
        plan: as `in_batches`.

    Raises:
        CulnigError: the checkpoint is of another run, or as `in_batches`.
    """
    path = None if checkpoint is None else Path(checkpoint)
    done = [] if path is None else _resume(path, run, sums)
    taken = set(done)
    left = [row for row in range(len(lengths)) if row not in taken]
    mine = [left[i] for i in my_share([lengths[row] for row in left])]
    if process_rank():
        done = []
    saved, ours = time.monotonic(), len(done) + len(mine)
    for rows, found in in_batches(mine, lengths, token_budget, work, what, plan):
        add(rows, found)
        done += rows
        due = len(done) == ours or time.monotonic() - saved >= seconds
        if path is not None and due:
            _save(_part(path, process_rank()), run, sums, done)
            saved = time.monotonic()
    for tensor in sums.values():
        add_up(tensor)


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint, the files of all processes."""
    if not process_rank():
        for file in (path, *_others(path)):
            file.unlink(missing_ok=True)


def _resume(path: Path, run: str, sums: Mapping[str, Tensor]) -> list[int]:
    """Take over what all processes of an earlier run had done: the sums go to the first process.

    Returns:
        The rows that are in the sums of any process.
    """
    found = []
    for file in (path, *_others(path)):
        if file.exists():
            tensors, about = read_tensors(file, _FORMAT)
            if about["run"] != run:
                raise CulnigError(
                    f"checkpoint {file} belongs to another run: other model, data, arguments or "
                    "versions; delete it or name another"
                )
            found.append((tensors.pop("done").tolist(), tensors))
    done: list[int] = []
    for rows, tensors in sorted(found, key=lambda part: -len(part[0])):
        # Of a run that died while it put them together, one file has what others have too.
        if not set(rows) & set(done):
            done += rows
            if not process_rank():
                for name, tensor in sums.items():
                    tensor += torch.from_numpy(tensors[name]).to(tensor)
    agreed(None)  # all have read before the first puts them together
    if not process_rank():
        for half in path.parent.glob(f".{glob.escape(path.name)}*-*"):  # a write that was killed
            half.unlink()
    if len(found) > 1 and not process_rank():
        _save(path, run, sums, done)
        for file in _others(path):
            file.unlink()
    agreed(None)
    return done


def _save(file: Path, run: str, sums: Mapping[str, Tensor], done: Sequence[int]) -> None:
    arrays = {name: tensor.cpu().numpy() for name, tensor in sums.items()}
    arrays["done"] = np.array(done, dtype=np.int64)
    about = {"format": _FORMAT, "run": run}
    write_atomically(file, lambda name: write_tensors(name, arrays, about), every_process=True)


def _part(path: Path, rank: int) -> Path:
    return path.with_name(f"{path.name}.{rank}") if rank else path


def _others(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.*"))
