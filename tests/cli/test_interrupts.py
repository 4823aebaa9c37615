"""Ctrl-C and SIGTERM: another exit code than success, one line, and what was added up is kept."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import tiny
import torch
from command import culnig

from culnig_tl.interrupts import interrupts, uninterrupted
from culnig_tl.models.sums import add_batches
from culnig_tl.study import model_facts

KEPT = "what is finished is kept, give the same command again to go on"


@pytest.fixture(autouse=True)
def usual_signals():
    """The handlers that Python starts with, also where the shell ignores a signal (`&`, nohup)."""
    usual = {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
    }
    before = {name: signal.signal(getattr(signal, name), usual[name]) for name in usual}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


def add_up(path, stop_at=None, rows=6, add=None):
    """Add 1 for each row, one a batch; the work is interrupted at the `stop_at`th."""
    total, calls = torch.zeros(rows), []

    def work(batch):
        calls.extend(batch)
        if len(calls) - 1 == stop_at:
            raise KeyboardInterrupt
        return batch

    def plus(batch, found):
        total[batch] += 1

    for batch, found in add_batches(
        [1] * rows,
        1,
        work=work,
        sums={"total": total},
        made_from="run",
        what="",
        checkpoint=path,
    ):
        (add or plus)(batch, found)
    return total, calls


def test_the_sums_are_kept(tmp_path):
    path = tmp_path / "sums"
    with pytest.raises(KeyboardInterrupt):
        add_up(path, stop_at=4)
    assert path.is_file()
    total, calls = add_up(path)
    assert len(calls) == 2  # four of six had been added
    assert total.tolist() == [1] * 6


def test_no_half_addition_is_kept(tmp_path):
    """A signal in the middle of an addition waits for its end."""
    path, seen = tmp_path / "sums", []

    def add(batch, found):
        if batch == [2]:
            os.kill(os.getpid(), signal.SIGINT)
        seen.append(batch)

    with pytest.raises(KeyboardInterrupt):
        add_up(path, add=add)
    assert seen == [[0], [1], [2]]
    _, calls = add_up(path)
    assert calls == [3, 4, 5]


def test_an_addition_that_fails_gives_the_signals_back(tmp_path):
    path, before, within = tmp_path / "sums", signal.getsignal(signal.SIGINT), []

    def add(batch, found):
        within.append(signal.getsignal(signal.SIGINT))
        if batch == [2]:
            raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        add_up(path, add=add)
    assert before not in within
    assert signal.getsignal(signal.SIGINT) == before
    assert not path.exists()  # of a run that failed, what was last saved counts


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_raise_once(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with interrupts(once=True) as came:
        with pytest.raises(KeyboardInterrupt), uninterrupted():  # noqa: PT012
            os.kill(os.getpid(), number)
            time.sleep(0.01)
            assert not came
        assert came == [number]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # the next one ends at once
    assert signal.getsignal(number) == before


def test_of_several_processes_the_next_signal_is_ignored():
    with interrupts(once=False) as came:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert came == [signal.SIGTERM]


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with interrupts(once=True) as came:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert not came
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_is_set():
    def enter():
        with interrupts(once=True), uninterrupted():
            found.append(signal.getsignal(signal.SIGINT))

    found: list = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


@pytest.mark.parametrize(
    ("name", "code", "what"), [("SIGINT", 130, "Ctrl-C"), ("SIGTERM", 143, "SIGTERM")]
)
def test_a_command_that_is_stopped(monkeypatch, capsys, name, code, what):
    def stop(*arguments, **options):
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(1)

    monkeypatch.setattr(model_facts, "model_facts", stop)
    found, out, error = culnig(monkeypatch, capsys, "models", "gemma-3-270m")
    assert (found, out) == (code, "")
    assert error == f"culnig: stopped by {what}: {KEPT}"


def test_an_error_on_the_way_out_is_not_told(monkeypatch, capsys):
    def stop(*arguments, **options):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(model_facts, "model_facts", stop)
    found, _, error = culnig(monkeypatch, capsys, "models", "gemma-3-270m")
    assert found == 143
    assert error == f"culnig: stopped by SIGTERM: {KEPT}"


def test_a_keyboard_interrupt_without_a_signal(monkeypatch, capsys):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(model_facts, "model_facts", stop)
    found, _, error = culnig(monkeypatch, capsys, "models", "gemma-3-270m")
    assert found == 130
    assert error == f"culnig: stopped by Ctrl-C: {KEPT}"


def test_ctrl_c_while_scoring(tmp_path):
    """A real process, interrupted as soon as it scores: code 130, one line, a checkpoint."""
    folder, out = tiny.byte_model(tmp_path / "tiny"), tmp_path / "s.safetensors"
    command = [sys.executable, "-c", SLOW, "score", "--model", folder, "--out", out]
    command += ["--token-budget", "1", "--limit", "40", "--format", "cloze"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=_with_default_signals
    ) as process:
        assert process.stderr is not None
        before = []
        for line in process.stderr:
            before.append(line)
            if line.startswith("scoring"):
                break
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
    assert process.returncode == 130, "".join(before) + error
    assert [line for line in error.splitlines() if "culnig:" in line] == [
        f"culnig: stopped by Ctrl-C: {KEPT}"
    ]
    assert "Traceback" not in error
    assert (tmp_path / "s.safetensors.checkpoint").is_file()
    assert not out.exists()


# Says when three batches are done, and is slow from there on, so that the signal comes in between.
SLOW = """
import sys, time
from culnig_tl.measure import attribution
from culnig_tl.cli import main as cli
real, calls = attribution.score_batch, []
def slow(*arguments, **named):
    calls.append(1)
    if len(calls) == 4:
        print("scoring", file=sys.stderr, flush=True)
    if len(calls) > 3:
        time.sleep(0.5)
    return real(*arguments, **named)
attribution.score_batch = slow
cli.main()
"""


def _with_default_signals():
    signal.signal(signal.SIGINT, signal.default_int_handler)
