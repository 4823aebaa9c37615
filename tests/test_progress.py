"""Progress: a line a minute where there is no terminal, a bar where there is."""

import io

import pytest
from rich.console import Console

from culnig_tl import progress as module
from culnig_tl.progress import progress


@pytest.fixture
def log(monkeypatch):
    """What is written, and a clock that a step moves by 25 seconds."""
    stream, now = io.StringIO(), [0.0]

    def clock() -> float:
        now[0] += 25.0
        return now[0]

    monkeypatch.setattr(module, "Console", lambda stderr: Console(file=stream, width=40))
    monkeypatch.setattr(module, "_clock", clock)
    return stream


def test_a_line_a_minute_in_a_log(log):
    assert list(progress(range(9), "Attribution of a long name, in one line", 9)) == list(range(9))
    assert log.getvalue().splitlines() == [
        "Attribution of a long name, in one line: 3 of 9, about 2 min left",
        "Attribution of a long name, in one line: 6 of 9, about 75 s left",
        "Attribution of a long name, in one line: 9 of 9, in 4 min",
    ]


def test_work_that_ends_within_a_minute_is_one_line(log):
    list(progress(range(2), "Attribution", 2))
    assert log.getvalue() == "Attribution: 2 of 2, in 50 s\n"


@pytest.mark.parametrize(
    ("seconds", "spoken"), [(0.4, "0 s"), (89.0, "89 s"), (91.0, "2 min"), (7500.0, "2 h 5 min")]
)
def test_times_are_spoken(seconds, spoken):
    assert module._spoken(seconds) == spoken


def test_a_bar_on_a_terminal(monkeypatch):
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, width=80, _environ={"TERM": "xterm"})
    monkeypatch.setattr(module, "Console", lambda stderr: terminal)
    list(progress(range(3), "Attribution", 3))
    assert "Attribution" in stream.getvalue()
    assert "3/3" in stream.getvalue()
    assert "left" not in stream.getvalue()
