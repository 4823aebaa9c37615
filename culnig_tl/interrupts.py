"""Interrupts: Ctrl-C, SIGTERM and SIGHUP end a command in order, and never half of an addition."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_NUMBERS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextlib.contextmanager
def interrupts(once: bool) -> Iterator[list[int]]:
    """Within the `with` each of these signals raises KeyboardInterrupt; what is open is closed.

    Yields a list that gets the number of the signal that came. One that is ignored (nohup) stays
    so.

    Args:
        once: the next signal ends the process at once. Otherwise it is ignored: torchrun hands on
            a Ctrl-C that its processes have had already.
    """
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL if once else signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only there they may be set
        yield came
        return
    found = {number: signal.getsignal(number) for number in _NUMBERS}
    before = {n: handler for n, handler in found.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back these signals, where they would raise, until the end of the `with`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, Any]] = []
    found = {number: signal.getsignal(number) for number in _NUMBERS}
    before = {number: handler for number, handler in found.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda *args: came.append(args))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, frame in came[:1]:
            before[number](number, frame)
