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

_VARIABLES = ("DIST_", "CONTAINERD_", "DOCKER_", "REGISTRY_AUTH_FILE", "XDG_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees what the person who runs it has set, or whom they are logged in as."""
    for name in list(os.environ):
        if name.startswith(_VARIABLES) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp() / "nobody"))


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Tell how many cases a test went through; the end of the run prints them."""

    def cases(what: str, number: int) -> None:
        record_property("cases", (what, number))

    return cases


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the cases of the fault tests, and their sum."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    properties = [pair for report in reports for pair in getattr(report, "user_properties", [])]
    cases = sorted({tuple(value) for name, value in properties if name == "cases"})
    if cases:
        terminalreporter.section("fault cases")
        for what, number in cases:
            terminalreporter.write_line(f"{number:5} {what}")
        terminalreporter.write_line(f"{sum(number for _, number in cases):5} in all")


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
