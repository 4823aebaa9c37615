"""What a result was made from: versions, hashes, and arguments noted beside it."""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culnig_tl.errors import CulnigError
from culnig_tl.files import write_json
from culnig_tl.schemas import read_object

Provenance = dict[str, Any]
_PACKAGES = ("culnig-tl", "transformer-lens", "torch", "transformers", "numpy", "pandas")
# Raised when this package computes other numbers than before; no run goes on over such a change.
NUMBERS = 1


def sha256_of(content: Any) -> str:
    """SHA-256, in hexadecimal, of `content` written as canonical JSON."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def first_difference(before: Any, now: Any, *, where: str = "") -> tuple[str, Any, Any] | None:
    """Where two contents of JSON first differ (`model.weights`), and both values there; or None."""
    before, now = (json.loads(json.dumps(content)) for content in (before, now))
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*now, *before)):
            found = first_difference(
                before.get(key), now.get(key), where=f"{where}.{key}".lstrip(".")
            )
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


def check_arguments(file: Path, arguments: Mapping[str, Any]) -> None:
    """Refuse to go on where `file` notes other arguments; what it lacks is not compared.

    Raises:
        CulnigError: they differ; the message has both.
    """
    if not file.exists():
        return
    before = read_object(file, {})
    for key, value in arguments.items():
        difference = first_difference(before.get(key), value, where=key) if key in before else None
        if difference is not None:
            where, held, asked = difference
            raise CulnigError(
                f"{file.parent} was made with {where} = {held}, this asks for {asked}: give the "
                "same, or delete that folder"
            )


def note_arguments(file: Path, arguments: Mapping[str, Any]) -> None:
    """`check_arguments`, and note them in `file` if it is not there.

    Also the version of this package's numbers.

    Raises:
        CulnigError: as `check_arguments`.
    """
    noted = {**arguments, "numbers": NUMBERS}
    check_arguments(file, noted)
    if not file.exists():
        write_json(file, noted)
