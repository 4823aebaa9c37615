"""Batches whose results add up: counted once, though a run dies or several processes share it."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from culnig_tl.errors import CulnigError
from culnig_tl.files import process_rank, progress, write_atomically
from culnig_tl.processes import add_up, agreed, my_share
from culnig_tl.scores import read_tensors, write_tensors

_FORMAT = "culnig_tl checkpoint, version 3"


def add_batches(
    costs: Sequence[int],
    add: Callable[[int], None],
    sums: Mapping[str, Tensor],
    run: str,
    what: str,
    checkpoint: str | Path | None = None,
    seconds: float = 30.0,
) -> None:
    """Call `add` with the number of each batch, which adds its results to `sums`, in place.

    Several processes share the batches, and all have the whole sums afterwards. The sums are kept
    in `checkpoint` every `seconds`, those of another process than the first in a file beside it;
    a run that died goes on from there, with as many processes as it then has.

    Args:
        costs: of each batch, in any unit.
        sums: by name, all 0 at first.
        run: a hash of everything on which the results depend.
        what: the name of the work, for the progress bar.

    Raises:
        CulnigError: the checkpoint is of another run.
    """
    path = None if checkpoint is None else Path(checkpoint)
    done = [] if path is None else _resume(path, run, sums)
    left = sorted(set(range(len(costs))) - set(done))
    mine = [left[i] for i in my_share([costs[number] for number in left])]
    if process_rank():
        done = []
    saved = time.monotonic()
    for number in progress(mine, what, len(mine)):
        add(number)
        done.append(number)
        due = number == mine[-1] or time.monotonic() - saved >= seconds
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
        The numbers of the batches that are in the sums of any process.
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
            found.append((about["done"], tensors))
    done: list[int] = []
    for numbers, tensors in sorted(found, key=lambda part: -len(part[0])):
        # Of a run that died while it put them together, one file has what others have too.
        if not set(numbers) & set(done):
            done += numbers
            if not process_rank():
                for name, tensor in sums.items():
                    tensor += torch.from_numpy(tensors[name]).to(tensor)
    agreed(None)  # all have read before the first puts them together
    if len(found) > 1 and not process_rank():
        _save(path, run, sums, done)
        for file in _others(path):
            file.unlink()
    agreed(None)
    return done


def _save(file: Path, run: str, sums: Mapping[str, Tensor], done: Sequence[int]) -> None:
    arrays = {name: tensor.cpu().numpy() for name, tensor in sums.items()}
    about = {"format": _FORMAT, "run": run, "done": list(done)}
    write_atomically(file, lambda name: write_tensors(name, arrays, about), every_process=True)


def _part(path: Path, rank: int) -> Path:
    return path.with_name(f"{path.name}.{rank}") if rank else path


def _others(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.*"))
