"""Real data, where there is any; and what pytest leaves out."""

import os
from pathlib import Path

import pytest

# Where there is a GPU the tests stay on the CPU: they hold models beside tensors of their own.
# `benchmarks/parity.py` compares a GPU with the CPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

# Only the package's docstrings have examples: what the tests use is imported by them.
collect_ignore = [p.name for p in Path(__file__).parent.glob("*.py") if p.name[:5] != "test_"]
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project; a user has none."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data in {SHARED}")
    return SHARED
