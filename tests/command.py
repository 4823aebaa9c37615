"""The command line from within a test, and a small finished run by it."""

import sys

import tiny
from rich.console import Console

from culnig_tl.cli import main as cli
from culnig_tl.cli import tables

# With the model of `tiny.byte_model`; a few seconds.
SMALL_RUN = (
    *("--limit", 8, "--test-limit", 4, "--rc-limit", 4, "--other-limit", 2, "--seeds", 1),
    *("--top-mlp", 0.2, "--top-attention", 0.1, "--tests", "paraphrase", "--format", "cloze"),
)


def culnig(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["culnig", *map(str, arguments)])
    monkeypatch.setattr(tables, "console", Console(width=200))
    monkeypatch.setenv("COLUMNS", "200")  # of the consoles for errors and progress
    try:
        cli.main()
    except SystemExit as stop:
        output = capsys.readouterr()
        return int(stop.code or 0), output.out, output.err.strip()
    output = capsys.readouterr()
    return 0, output.out, output.err.strip()


class Captured:
    """Stands in for `capsys`, which a fixture of a module cannot have."""

    def readouterr(self):
        return self

    out = err = ""


def byte_run(monkeypatch, capsys, tmp_path):
    """A small finished run of the byte model, which is in the folder `tiny`."""
    out, folder = tmp_path / "run", tiny.byte_model(tmp_path / "tiny")
    code, _, error = culnig(monkeypatch, capsys, "run", "--model", folder, "--out", out, *SMALL_RUN)
    assert code == 0, error
    return out
