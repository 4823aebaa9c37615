"""The terminal: how a command reads its arguments, what it prints, and how it ends."""

import contextlib
import difflib
import logging
import os
import re
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from culnig_tl.errors import CulnigError
from culnig_tl.files import disk_trouble
from culnig_tl.interrupts import interrupts
from culnig_tl.processes import process_count, process_rank

# Typer is built on click, or since 0.29 on a copy of its own: the classes that typer itself has.
_UsageError: Any = typer.BadParameter.__mro__[1]
_ClickException: Any = typer.BadParameter.__mro__[2]
# What Hugging Face's packages read when they are imported, which is later.
_QUIET = {
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # of reading weights, too
    "TOKENIZERS_PARALLELISM": "false",
}


def path_of(given: str | Path) -> Path:
    """A path as it is given to an option, `~` expanded."""
    if given == "":
        raise typer.BadParameter("the path is empty: give a file or a folder")
    path = os.path.expanduser(given)
    if path.startswith("~"):
        raise typer.BadParameter(f"there is no home folder {path.split('/')[0]}")
    return Path(path)


def exit_code(app: typer.Typer) -> int:
    """Run the command that the process was started with; every error is one line.

    Returns:
        0; 1 for a mistake in what was given or a disk that cannot be written, 2 for one in how the
        command was written; 128 + its number after a signal.
    """
    _set_up()
    # Without any argument the help is shown.
    arguments = sys.argv[1:] or ["--help"]
    with interrupts(once=process_count() == 1) as came:
        try:
            code = app(arguments, prog_name=_program(), standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
        except (KeyboardInterrupt, typer.Abort):
            code = 130
        except Exception as error:
            if not came:  # what goes wrong on the way out is not told
                return _complain(error)
        if not came and code != 130:  # newer versions of typer make this of a KeyboardInterrupt
            return code if isinstance(code, int) else 0
        number = signal.Signals(came[0] if came else signal.SIGINT)
        what = "Ctrl-C" if number == signal.SIGINT else number.name
        _print_error(
            f"stopped by {what}: what is finished is kept, give the same command again to go on"
        )
        return 128 + number


def _set_up() -> None:
    """Logs go to standard error, and what other packages say is left out."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False, show_time=False)],
    )
    logging.getLogger("culnig_tl").setLevel(logging.ERROR if process_rank() else logging.INFO)
    logging.getLogger("httpx").setLevel(logging.ERROR)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module="(transformer_lens|transformers|torch).*")
    for stream in (sys.stdout, sys.stderr):  # a name of a file may be no text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _program() -> str:
    """How the program was called, for its usage."""
    name = Path(sys.argv[0]).name
    return "python -m culnig_tl" if name == "__main__.py" else "culnig"


def _complain(error: Any) -> int:
    """Say what was wrong, or raise it again if it is no mistake of the user's."""
    if isinstance(error, CulnigError):
        _print_error(str(error))
        return 1
    if isinstance(error, _UsageError):
        _print_usage(error)
        return 2
    if isinstance(error, _ClickException):
        _print_error(error.format_message())
        return 1
    if isinstance(error, BrokenPipeError):  # whoever read the output has enough, as `head`
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    trouble = disk_trouble(error)
    if trouble is None:
        raise error
    file = getattr(error, "filename", None)
    what = f"{file}: {trouble}" if file else trouble
    _print_error(f"{what}; check the path, your rights to it and the room on the disk")
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if isinstance(error, OSError) and not file:  # of the output itself: it cannot be flushed
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _print_usage(error: Any) -> None:
    """The usage of the command, and in one line what was wrong, what was perhaps meant."""
    message, command = error.format_message(), _program()
    context = getattr(error, "ctx", None)
    if context is not None:
        command = context.command_path
        Console(stderr=True).print(Text(context.get_usage()), soft_wrap=True)
        unknown = re.search("No such command '(.*?)'", message)
        names = list(getattr(context.command, "commands", ()))
        if unknown and "mean" not in message:  # older versions of typer do not say it
            near = difflib.get_close_matches(unknown[1], names)
            message += f" Did you mean {', '.join(map(repr, near))}?" if near else ""
    _print_error(f"{message} (see {command} --help)")


def _print_error(message: str) -> None:
    line = Text(f"culnig: {' '.join(message.split())}", style="red")
    Console(stderr=True).print(line, soft_wrap=True, highlight=False)
