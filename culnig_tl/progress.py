"""Progress on standard error: a bar on a terminal, a line a minute in a log."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from culnig_tl.processes import process_rank

T = TypeVar("T")
# Between two lines where there is no terminal.
SECONDS = 60.0
_clock = time.monotonic


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress with the time left; call what it gives with each step.

    On a terminal and in a notebook a bar. Elsewhere, as in a file or a batch job's log, a line
    every minute and one at the end: how much is done, of how much, and the time left.
    """
    console = Console(stderr=True)
    if not description or total < 2 or process_rank() > 0:
        yield lambda steps: None
    elif not (console.is_interactive or console.is_jupyter):
        yield _Lines(console, description, total).advance
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(description, total=total)
            yield lambda steps: bar.advance(task, steps)


class _Lines:
    """A line a minute."""

    def __init__(self, console: Console, description: str, total: int) -> None:
        self.console, self.description = console, description
        self.total, self.done = total, 0
        self.began = self.told = _clock()

    def advance(self, steps: int) -> None:
        self.done += steps
        now, ended = _clock(), self.done >= self.total
        if not ended and now - self.told < SECONDS:
            return
        self.told, took = now, now - self.began
        left = took * (self.total - self.done) / max(self.done, 1)
        how = f"in {_spoken(took)}" if ended else f"about {_spoken(left)} left"
        line = f"{self.description}: {self.done} of {self.total}, {how}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _spoken(seconds: float) -> str:
    """A time as it is read: `40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def progress(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield `items` under a progress bar."""
    with progress_bar(description, total) as advance:
        for item in items:
            yield item
            advance(1)
