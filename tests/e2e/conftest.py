"""Fixtures for the tests of verbs that look at files of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.image_files import Dist, fill


@pytest.fixture
def files(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Dist:
    """``dist`` on a store with the images ``app:1``, ``app:2`` and ``artifact:1``."""
    fill(tmp_path / "store")
    return Dist(tmp_path / "store", capsysbinary)
