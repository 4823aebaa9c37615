"""Paths: refusing to write where something is read, or where it cannot be written."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.files import HALF_WRITTEN, disk_errors, half_written


def try_writing(file: Path) -> None:
    """Refuse a file that could not be written, before what is written is worked out.

    Raises:
        CulnigError: it is a folder or no ordinary file, or its folder cannot be written.
    """
    file = Path(file)
    if os.path.lexists(file) and not os.path.isfile(file) and not os.path.islink(file):
        what = "a folder" if os.path.isdir(file) else "a device or a pipe"
        raise CulnigError(f"cannot write {file}: it is {what}; choose another name")
    with disk_errors(file, "choose a folder you may write to"):
        if os.path.islink(file):
            with contextlib.suppress(FileNotFoundError):
                file.stat()  # a loop of links is an error
        with half_written(file):
            pass


def check_inputs_kept(out: Path, inputs: Mapping[str, Any]) -> None:
    """Refuse to write the file `out` onto something that is read.

    Args:
        inputs: files and folders by what they are; None and what is not there are left out.

    Raises:
        CulnigError: `out` is one of them, or a file in one of these folders.
    """
    there = _real(out)
    for what, given in inputs.items():
        if given is None or not os.path.exists(given):
            continue
        same = os.path.exists(there) and os.path.samefile(there, given)
        inside = os.path.isfile(there) and there.is_relative_to(_real(given))
        if same or inside:
            raise CulnigError(
                f"{out} is {'read' if same else 'part of what is read'} as the {what}: choose "
                "another name for what is written"
            )


def check_inputs_outside(out: Path, inputs: Mapping[str, Any]) -> None:
    """Refuse to read what lies in the folder `out`, whose files are written.

    Raises:
        CulnigError: one of `inputs` is in it, or is it.
    """
    for what, given in inputs.items():
        if given is not None and os.path.exists(given) and _real(given).is_relative_to(_real(out)):
            raise CulnigError(
                f"the {what} {given} is in {out}, whose files are written: keep it elsewhere"
            )


def check_own_folder(folder: Path, mark: str, *, ours: Iterable[str] | None = None) -> None:
    """Refuse to write into a folder that holds files of others.

    Args:
        mark: the file that tells that a folder is ours.
        ours: the names that are written; None for any.

    Raises:
        CulnigError: such files are there, and `mark` is not.
    """
    folder = Path(folder)
    with disk_errors(folder, "choose another folder"):
        if os.path.lexists(folder / mark) or not os.path.lexists(folder):
            return
        names = sorted(entry.name for entry in folder.iterdir())
    strange = [n for n in names if not HALF_WRITTEN.fullmatch(n) and (ours is None or n in ours)]
    if strange:
        raise CulnigError(
            f"{folder} holds other files ({strange[0]}) and no {mark}: choose a new or an empty "
            "folder"
        )


def _real(path: Any) -> Path:
    """Absolute and without symbolic links; a loop of them stays as it is."""
    return Path(os.path.realpath(path))
