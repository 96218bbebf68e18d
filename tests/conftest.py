"""What the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Photographs and models that are not in the repository: LABELCAM_SHARED, or beside the checkout."""
    folder = Path(os.environ.get("LABELCAM_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip("the shared photographs are not here: name their folder in LABELCAM_SHARED")
    return folder
