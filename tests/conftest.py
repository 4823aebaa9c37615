"""Real data, where there is any."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project; a user has none."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data in {SHARED}")
    return SHARED
