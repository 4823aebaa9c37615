"""Files: read as text or JSON, written atomically, and what is left half written cleared."""

import codecs
import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from safetensors import SafetensorError

from culnig_tl.errors import CulnigError
from culnig_tl.interrupts import uninterrupted
from culnig_tl.processes import process_rank

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
# What else than an OSError may say that a disk is full or cannot be written, and in which words:
# safetensors, pyarrow and torch have errors of their own.
_DISK_WORDS = (
    *("no space left", "disk quota exceeded", "read-only file system", "file too large"),
    *("input/output error", "i/o error", "os error", "file write failed", "unexpected pos"),
)
# What is half written has a name of this one form: a hash of the machine's name, the process, and
# something random.
HALF_WRITTEN = re.compile(r"\.culnig-([0-9a-f]{8})-([1-9][0-9]*)-[0-9a-f]{8}(\.\w+)?")
# The machine's boot time, from which a process's start is reckoned, is known to a second or so.
_CLOCK = 2.0
_DAY = 24 * 3600.0


def write_atomically(
    path: Path, write: Callable[[Path], object], *, every_process: bool = False
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
    if os.path.exists(path) and not os.path.isdir(path) and not os.path.isfile(path):
        raise CulnigError(f"cannot write {path}: it is a device or a pipe; choose another name")
    # The disk may be full, or `path` a folder.
    remedy = "choose another name or make room"
    with half_written(path) as temporary, disk_errors(path, remedy):
        write(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)


@contextlib.contextmanager
def half_written(path: Path) -> Iterator[Path]:
    """A new empty file beside `path` to write to; it is gone at the end of the `with`, unless it
    was renamed. A process that is killed leaves it: see `clear_half_written`.

    Raises:
        CulnigError: the folder cannot be written.
    """
    temporary = path.with_name(half_written_name(suffix=path.suffix))
    with disk_errors(path, "choose a folder you may write to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def half_written_name(*, suffix: str = "") -> str:
    """A name for a file or folder that is being written, to be renamed when it is whole."""
    suffix = suffix if re.fullmatch(r"\.\w+", suffix) else ""
    return f".culnig-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def clear_half_written(folder: Path, *, deep: bool = False) -> None:
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
    name = HALF_WRITTEN.fullmatch(path.name)
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


@contextlib.contextmanager
def disk_errors(path: Path, remedy: str) -> Iterator[None]:
    """Turn what goes wrong with a disk into one line with the remedy, whoever raises it.

    Raises:
        CulnigError: `path` cannot be written.
    """
    try:
        yield
    except Exception as error:
        reason = disk_trouble(error)
        if reason is None:
            raise
        raise CulnigError(f"cannot write {path}: {reason}; {remedy}") from error


def disk_trouble(error: BaseException) -> str | None:
    """What an error says of a disk or a file name; None if it is about something else."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError):
        return error.strerror or text or type(error).__name__
    if isinstance(error, UnicodeEncodeError):
        return "its name or its text is not UTF-8"
    if isinstance(error, ValueError) and "null byte" in text:
        return "there is a null byte in its name"
    known = isinstance(error, SafetensorError | RuntimeError) or "Arrow" in type(error).__name__
    if known and any(words in text.lower() for words in _DISK_WORDS):
        return text[:160]
    return None


@contextlib.contextmanager
def new_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill, which gets its name at the end: half of one is never there under it.

    It is filled beside `folder` (`half_written_name`).

    Args:
        replace: what is there under the name goes; it must be ours.

    Raises:
        CulnigError: it cannot be written, or is there already.
    """
    folder = Path(folder)
    with disk_errors(folder, "choose another folder or make room"):
        if not replace and os.path.lexists(folder):
            raise CulnigError(f"{folder} is there already: choose another folder, or delete it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = folder.with_name(half_written_name())
        work.mkdir()
        try:
            half, old = work / "new", work / "old"
            half.mkdir()
            yield half
            with uninterrupted():
                if replace and os.path.lexists(folder):
                    folder.rename(old)
                half.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_bytes(path: str | Path, *, most: int = -1) -> bytes:
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


def read_text(path: str | Path) -> str:
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


def read_json(path: str | Path) -> Any:
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
