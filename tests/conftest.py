"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The mirror folder with real data; the test skips where there is none."""
    named = os.environ.get("LANTU_MIRROR")
    folder = Path(named) if named else REPO.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs a mirror folder of real data; none at {folder} (set LANTU_MIRROR)")
    return folder
