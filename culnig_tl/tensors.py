"""Arrays in a safetensors file, with what they are as JSON in its metadata."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from culnig_tl.errors import CulnigError
from culnig_tl.schemas import check_object, damaged


def write_tensors(path: Path, tensors: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """A safetensors file with `about` as JSON in its metadata."""
    save_file(tensors, path, metadata={"about": json.dumps(about)})


def read_tensors(path: Path, *formats: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `write_tensors` wrote, if its `format` is one of these, of which the last is today's.

    Raises:
        CulnigError: no such file, damaged, or another format.
    """
    if not os.path.isfile(path):
        raise CulnigError(f"no file {path}: check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise damaged(path, " ".join(str(error).split())) from error
    check_object(path, about, {})
    if about.get("format") not in formats:
        raise CulnigError(
            f"{path} holds {about.get('format', 'other tensors')!r}, expected {formats[-1]!r}: "
            "check the path"
        )
    return tensors, about
