"""Files, hashes and progress bars: what every other module may use."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from culnig_tl.errors import CulnigError

T = TypeVar("T")
Provenance = dict[str, Any]
_PACKAGES = ("culnig-tl", "transformer-lens", "torch", "transformers", "numpy", "pandas")


def process_count() -> int:
    """How many processes share this run; torchrun and its like say so."""
    started = "RANK" in os.environ and "MASTER_ADDR" in os.environ
    return int(os.environ.get("WORLD_SIZE", "1")) if started else 1


def process_rank() -> int:
    """Which of them this one is; 0 writes and speaks for all."""
    return int(os.environ["RANK"]) if process_count() > 1 else 0


def write_atomically(
    path: Path, write: Callable[[Path], object], every_process: bool = False
) -> None:
    """Call `write` on a temporary name in the same folder, then rename it to `path`.

    A process killed at any moment leaves either the old file or the new one, never half of one.
    Of several processes only the first writes, unless `every_process`.

    Raises:
        CulnigError: the folder cannot be written.
    """
    if process_rank() and not every_process:
        return
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}-", suffix=path.suffix
        )
    except OSError as error:
        raise CulnigError(
            f"cannot write {path}: {error.strerror}; choose a folder you may write to"
        ) from error
    os.close(handle)
    try:
        write(Path(temporary))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:  # the disk is full, or `path` is a folder
        raise CulnigError(
            f"cannot write {path}: {error.strerror}; choose another name or make room"
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CulnigError: there is no such file, or it is not JSON (the message gives the line).
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CulnigError(f"no file {path}: check the path") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CulnigError(f"{path} is not valid JSON: {error}; mend or replace the file") from error
    except OSError as error:
        raise CulnigError(f"cannot read {path}: {error.strerror}; check the path") from error


def sha256_of(content: Any) -> str:
    """SHA-256, in hexadecimal, of `content` written as canonical JSON."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def package_versions() -> dict[str, str]:
    """The versions of Python and of the packages on which a result depends."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with the time left, on standard error; call what it gives with each step."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    silent = not description or total < 2 or process_rank() > 0
    with Progress(*columns, console=Console(stderr=True), disable=silent) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)


def progress(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield `items` under a progress bar."""
    with progress_bar(description, total) as advance:
        for item in items:
            yield item
            advance(1)
