"""The program `culnig`: all commands, and how it ends."""

import sys

import typer

from culnig_tl.cli import commands, run_commands
from culnig_tl.cli.options import example
from culnig_tl.cli.terminal import exit_code

app = typer.Typer(
    help="Find the neurons of a language model that carry cultural knowledge (CULNIG).",
    epilog=example("run --out runs/demo"),
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(commands.app)
app.add_typer(run_commands.app)


def main() -> None:
    """Entry point: a mistake of the user's is one line on standard error (`exit_code`)."""
    code = exit_code(app)
    if code:
        sys.exit(code)
