"""Several processes of one run, as torchrun starts them: what they share, and what they agree on.

With one process every function here does nothing, and torch is not imported.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from culnig_tl.errors import CulnigError

T = TypeVar("T")
# How long a process waits for the others; torchrun ends all at once when one of them dies.
PATIENCE = timedelta(hours=2)


def process_count() -> int:
    """How many processes share this run; torchrun and its like say so."""
    started = "RANK" in os.environ and "MASTER_ADDR" in os.environ
    return int(os.environ.get("WORLD_SIZE", "1")) if started else 1


def process_rank() -> int:
    """Which of them this one is; 0 writes and speaks for all."""
    return int(os.environ["RANK"]) if process_count() > 1 else 0


def add_up(tensor: Any) -> None:
    """Add the tensors of all processes, in place.

    By way of the CPU, as the processes' tensors may be on devices of any number.
    """
    dist = _together()
    if dist is not None:
        total = tensor.cpu()
        with _all_alive():
            dist.all_reduce(total)
        tensor.copy_(total)


def agreed(value: T) -> T:
    """What the first process says, once all have come here."""
    dist = _together()
    if dist is None:
        return value
    box = [value]
    with _all_alive():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def barrier() -> None:
    """Wait until all processes have come here."""
    agreed(None)


def gathered(value: T) -> list[T]:
    """The values of all processes, in their order."""
    dist = _together()
    if dist is None:
        return [value]
    found: list[Any] = [None] * process_count()
    with _all_alive():
        dist.all_gather_object(found, value)
    return found


def my_share(costs: Sequence[int]) -> list[int]:
    """Which pieces of work are this process's, in their order: about the same cost for each.

    The dearest first, each to the process that has least so far.
    """
    loads = [0] * process_count()
    mine = []
    for number in sorted(range(len(costs)), key=lambda n: (-costs[n], n)):
        process = loads.index(min(loads))
        loads[process] += costs[number]
        if process == process_rank():
            mine.append(number)
    return sorted(mine)


def _together() -> Any:
    """torch.distributed of several processes, which meet at the first call; else None."""
    if process_count() < 2:
        return None
    import torch.distributed as dist

    if not dist.is_initialized():
        with _all_alive():
            dist.init_process_group("gloo", timeout=PATIENCE)
    return dist


@contextlib.contextmanager
def _all_alive() -> Iterator[None]:
    """Say in one line that another process has gone: it has said itself why."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise CulnigError(
            "another process of this run has ended: see what it said, and start them all again"
        ) from error
