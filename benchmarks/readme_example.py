"""The README's example: run as it stands there, and what its last line shows.

    python benchmarks/readme_example.py

Four minutes on two cores.
"""

import ast
from pathlib import Path
from typing import Any

import pandas as pd
from common import RESULTS

from culnig_tl.files import write_json

README = Path(__file__).parents[1] / "README.md"


def example() -> tuple[str, str]:
    """The code behind the mark, and the output that stands below it."""
    behind = README.read_text(encoding="utf-8").split("<!-- example -->")[1].split("```")
    return behind[1].removeprefix("python\n"), behind[3].strip("\n")


def last_value(code: str) -> Any:
    """What the last line of the code is worth."""
    *first, last = ast.parse(code).body
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(ast.Module(first, []), "README.md", "exec"), names)
    return eval(compile(ast.Expression(last.value), "README.md", "eval"), names)


def main() -> None:
    code, _ = example()
    with pd.option_context("display.width", 100, "display.precision", 1):
        shown = repr(last_value(code))
    write_json(RESULTS / "readme-example.json", {"code": code, "shows": shown})


if __name__ == "__main__":
    main()
