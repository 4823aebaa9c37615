"""Files, hashes and progress bars: what every other module may use."""

import codecs
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from culnig_tl.errors import CulnigError

T = TypeVar("T")
Provenance = dict[str, Any]
# Longest first: the mark of UTF-32 begins with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LFS_POINTER = b"version https://git-lfs"
# gzip, zip and spreadsheets, bzip2, xz, zstandard.
_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_PACKAGES = ("culnig-tl", "transformer-lens", "torch", "transformers", "numpy", "pandas")
# Raised when this package computes other numbers than before; no run goes on over such a change.
NUMBERS = 1
# What is half written has a name of this one form: a hash of the machine's name, the process, and
# something random.
_HALF_WRITTEN = re.compile(r"\.culnig-([0-9a-f]{8})-([1-9][0-9]*)-[0-9a-f]{8}(\.\w+)?")
# The machine's boot time, from which a process's start is reckoned, is known to a second or so.
_CLOCK = 2.0
_DAY = 24 * 3600.0


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
    with half_written(path) as temporary:
        try:
            write(temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except OSError as error:  # the disk is full, or `path` is a folder
            raise CulnigError(
                f"cannot write {path}: {error.strerror}; choose another name or make room"
            ) from error


@contextlib.contextmanager
def half_written(path: Path) -> Iterator[Path]:
    """A new empty file beside `path` to write to; it is gone at the end of the `with`, unless it
    was renamed. A process that is killed leaves it: see `clear_half_written`.

    Raises:
        CulnigError: the folder cannot be written.
    """
    temporary = path.with_name(half_written_name(path.suffix))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise CulnigError(
            f"cannot write {path}: {error.strerror}; choose a folder you may write to"
        ) from error
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def half_written_name(suffix: str = "") -> str:
    """A name for a file or folder that is being written, to be renamed when it is whole."""
    suffix = suffix if re.fullmatch(r"\.\w+", suffix) else ""
    return f".culnig-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def clear_half_written(folder: Path, deep: bool = False) -> None:
    """Delete what killed processes left half written in `folder`; `deep`: below it too.

    Only names of `half_written_name`, and never those of a process that still lives: on this
    machine that is asked, on another one a day must have passed since the last change.
    """
    found = folder.rglob(".culnig-*") if deep else folder.glob(".culnig-*")
    for path in list(found):
        with contextlib.suppress(OSError):  # another process was faster, or we may not
            if not _is_abandoned(path):
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_abandoned(path: Path) -> bool:
    name = _HALF_WRITTEN.fullmatch(path.name)
    if name is None or path.is_symlink():
        return False
    changed = path.stat().st_mtime
    if name[1] != _machine():
        return time.time() - changed > _DAY
    try:
        process = psutil.Process(int(name[2]))
        dead = process.status() == psutil.STATUS_ZOMBIE
        # One that began later only has the same number.
        return dead or process.create_time() > changed + _CLOCK
    except (psutil.NoSuchProcess, OverflowError):
        return True
    except psutil.Error:
        return False


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_bytes(path: Path, most: int = -1) -> bytes:
    """The bytes of a file, or its first `most`.

    Raises:
        CulnigError: there is no such file, it cannot be read, or it is a Git LFS pointer.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(most)
    except FileNotFoundError as error:
        raise CulnigError(f"no file {path}: check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise CulnigError(f"cannot read {path}: {reason}; check the path") from error
    if content.startswith(_LFS_POINTER):
        raise CulnigError(
            f"{path} is a Git LFS pointer, not the file itself: run 'git lfs pull' in its folder"
        )
    return content


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; with a byte-order mark also in UTF-16 or UTF-32.

    Line ends are as they are in the file.

    Raises:
        CulnigError: as `read_bytes`, or it is compressed or not such text (the message gives the
            line).
    """
    content = read_bytes(path)
    if content.startswith(_COMPRESSED):
        raise CulnigError(f"{path} is compressed or a spreadsheet: unpack it or save it as text")
    marks = [mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)]
    encoding = _BYTE_ORDER_MARKS[marks[0]] if marks else "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CulnigError(
            f"{path} is not text in {encoding}: byte 0x{content[error.start]:02x} in line {line}; "
            "save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CulnigError(
            f"{path} is not text in {encoding}: a NUL character in line {line}; save it as UTF-8"
        )
    return text.lstrip("\ufeff")


def parse_json(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is not JSON, nested too deep to be read, or holds a key twice in one object,
            a number of thousands of digits, or half of a character (`\\ud83d` alone).
    """
    try:
        content = json.loads(text, object_pairs_hook=_keys_once)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("it holds a number of thousands of digits") from None
        raise
    if re.search(r"\\u[dD][89a-fA-F]", text):
        try:
            json.dumps(content, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("it holds half of a character (a lone \\ud800 or its like)") from None
    return content


def _keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"it holds the key {twice!r} twice in one object")
    return found


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CulnigError: as `read_text`, or it is not JSON (the message gives the line).
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        reason = error if text.strip() else "it is empty"
        raise CulnigError(
            f"{path} is not valid JSON: {reason}; mend or replace the file"
        ) from error


def sha256_of(content: Any) -> str:
    """SHA-256, in hexadecimal, of `content` written as canonical JSON."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def first_difference(before: Any, now: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """Where two contents of JSON first differ (`model.weights`), and both values there; or None."""
    before, now = (json.loads(json.dumps(content)) for content in (before, now))
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*now, *before)):
            found = first_difference(before.get(key), now.get(key), f"{where}.{key}".lstrip("."))
            if found is not None:
                return found
        return None
    return None if before == now else (where, before, now)


def package_versions() -> dict[str, str]:
    """The versions of Python and of the packages on which a result depends, and `NUMBERS`."""
    versions = {"numbers": str(NUMBERS), "python": platform.python_version()}
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
