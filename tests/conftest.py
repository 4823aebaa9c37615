"""No network in tests; warnings of third parties that are not ours to mend."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project; a user has none."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data in {SHARED}")
    return SHARED
