"""Fixtures and options for every test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.local.store import LocalStore

_VARIABLES = ("DIST_", "CONTAINERD_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what the person who runs it has set."""
    for name in list(os.environ):
        if name.startswith(_VARIABLES) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def peer() -> Callable[[str], str]:
    """The path of a program from Debian's packages; without it CI fails, others skip."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is missing; .ci/run installs it")
            pytest.skip(f"{program} is not installed")
        return path

    return find


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty local store."""
    from distore.content.local.store import LocalStore

    return LocalStore(str(tmp_path / "store"))


@pytest.fixture
def dist(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run ``dist`` in a folder of its own; ``input`` is closed stdin unless given."""

    def run(
        *words: str, input: bytes = b"", env: dict[str, str] | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-I", "-m", "distore", *words],
            input=input,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            check=False,
        )

    return run
