"""Signatures: data first, everything else by name. Read with `ast`, not run."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "culnig_tl"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST = 3


def positional(function: ast.FunctionDef) -> list[str]:
    """Parameters that can be given by position."""
    every = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
    return [name for name in every if name not in ("self", "cls")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_more_than_three_by_position(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    long = [f.name for f in functions if len(positional(f)) > MOST]
    assert not long, f"put a * behind the data of {long}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_long_calls_name_their_arguments(path):
    """But for the words of a log line, and what other packages only take by position."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    long = [
        ast.unparse(call.func)
        for call in calls
        if len(call.args) > MOST and not any(isinstance(a, ast.Starred) for a in call.args)
    ]
    others = ("_log.info", "_log.warning", "self.callback_handler.on_evaluate")
    assert not [name for name in long if name not in others]


def test_the_reader_counts():
    source = "def f(self, a, b, *, c): ...\ndef g(a, b, c, d): ..."
    f, g = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    assert positional(f) == ["a", "b"]
    assert len(positional(g)) == 4
