"""Batches whose results add up: counted once, though a run dies or several processes share it.

One loops over `add_batches` and adds what it yields to the sums that it was given.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.files import clear_half_written, write_atomically
from culnig_tl.interrupts import uninterrupted
from culnig_tl.models.batches import group_rows, in_batches
from culnig_tl.processes import add_up, barrier, my_share, process_rank
from culnig_tl.provenance import first_difference, sha256_of
from culnig_tl.tensors import read_tensors, write_tensors

T = TypeVar("T")
_FORMAT = "culnig_tl checkpoint, version 4"


def add_batches(
    lengths: Sequence[int],
    token_budget: int,
    *,
    work: Callable[[list[int]], T],
    sums: Mapping[str, Tensor],
    made_from: Any,
    what: str,
    checkpoint: str | Path | None = None,
    seconds: float = 30.0,
    grouping: Callable[[Sequence[int], Sequence[int], int], list[list[int]]] = group_rows,
    places: Sequence[Sequence[int]] | None = None,
) -> Iterator[tuple[list[int], T]]:
    """Call `work` with the rows of each batch in turn; yields them and what it returned.

    The loop's body adds that to `sums`, in place, and Ctrl-C waits for its end: half of an
    addition would be neither done nor not done. The loop goes to its end, where the sums of
    several processes, which share the rows, are added up, so that all have the whole sums.

        for rows, found in add_batches(lengths, 1024, work=work, sums={"total": total}, ...):
            total += found.sum(dim=0)

    The sums are kept in `checkpoint` every `seconds` and on Ctrl-C, those of another process than
    the first in a file beside it; a run that died goes on from there, with as many processes and
    tokens as it then has.

    Args:
        lengths: of each row, in tokens.
        work: changes nothing, as it is called again when memory runs out (`in_batches`).
        sums: by name, all 0 at first.
        made_from: everything on which the results depend, as JSON has it; another checkpoint is
            refused.
        what: the name of the work, for the progress bar.
        grouping, places: as `in_batches`.

    Raises:
        CulnigError: the checkpoint is of another run, or as `in_batches`.
    """
    path = None if checkpoint is None else Path(checkpoint)
    done = [] if path is None else _resume(path, made_from, sums)
    taken = set(done)
    left = [row for row in range(len(lengths)) if row not in taken]
    mine = [left[i] for i in my_share([lengths[row] for row in left])]
    if process_rank():
        done = []
    saved, ours = time.monotonic(), len(done) + len(mine)
    try:
        for rows, found in in_batches(
            mine, lengths, token_budget, work=work, what=what, grouping=grouping, places=places
        ):
            with uninterrupted():
                yield rows, found
                done += rows
            due = len(done) == ours or time.monotonic() - saved >= seconds
            if path is not None and due:
                _save(_part(path, process_rank()), made_from, sums, done=done)
                saved = time.monotonic()
    except KeyboardInterrupt:
        if path is not None and done:
            _save(_part(path, process_rank()), made_from, sums, done=done)
        raise
    for tensor in sums.values():
        add_up(tensor)


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint, the files of all processes, and nothing that is no checkpoint."""
    if not process_rank():
        for file in (path, *_others(path)):
            if _is_checkpoint(file):
                file.unlink()


def _resume(path: Path, made_from: Any, sums: Mapping[str, Tensor]) -> list[int]:
    """Take over what all processes of an earlier run had done: the sums go to the first process.

    Returns:
        The rows that are in the sums of any process.
    """
    found = []
    files = [file for file in (path, *_others(path)) if file.exists()]
    for file in files:
        tensors, about = read_tensors(file, _FORMAT)
        _check_same(file, about, made_from)
        found.append((tensors.pop("done").tolist(), tensors))
    done: list[int] = []
    for rows, tensors in sorted(found, key=lambda part: -len(part[0])):
        # Of a run that died while it put them together, one file has what others have too.
        if not set(rows) & set(done):
            done += rows
            if not process_rank():
                for name, tensor in sums.items():
                    tensor += torch.from_numpy(tensors[name]).to(tensor)
    barrier()  # all have read before the first puts them together
    if not process_rank():
        clear_half_written(path.parent)
    if len(found) > 1 and not process_rank():
        _save(path, made_from, sums, done=done)
        for file in files:
            if file != path:
                file.unlink()
    barrier()
    return done


def _check_same(file: Path, about: Mapping[str, Any], made_from: Any) -> None:
    """Refuse a checkpoint that was made from something else."""
    if about["run"] == sha256_of(made_from):
        return
    # Those of earlier versions do not say what they were made from.
    difference = first_difference(about["made_from"], made_from) if "made_from" in about else None
    what = "other model, data, arguments or versions"
    if difference is not None:
        what = "it has {} = {}, this one has {}".format(*difference)
    raise CulnigError(
        f"checkpoint {file} belongs to another run: {what}; delete it or name another"
    )


def _save(file: Path, made_from: Any, sums: Mapping[str, Tensor], *, done: Sequence[int]) -> None:
    arrays = {name: tensor.cpu().numpy() for name, tensor in sums.items()}
    arrays["done"] = np.array(done, dtype=np.int64)
    about = {"format": _FORMAT, "run": sha256_of(made_from), "made_from": made_from}
    write_atomically(file, lambda name: write_tensors(name, arrays, about), every_process=True)


def _is_checkpoint(file: Path) -> bool:
    """Of any version; told by its metadata."""
    try:
        with safe_open(file, framework="numpy") as opened:
            about = json.loads((opened.metadata() or {})["about"])
            return str(about["format"]).startswith(_FORMAT.partition(",")[0])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return False


def _part(path: Path, rank: int) -> Path:
    return path.with_name(f"{path.name}.{rank}") if rank else path


def _others(path: Path) -> list[Path]:
    """The files of the other processes that are there: the name, a dot, and a number from 1."""
    own = re.compile(re.escape(path.name) + r"\.[1-9][0-9]*")
    if not path.parent.is_dir():
        return []
    return sorted(file for file in path.parent.iterdir() if own.fullmatch(file.name))
