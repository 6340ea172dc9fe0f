"""The pytest plugin: a stranger's tests get a registry, and pay nothing without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

USES = """
import urllib.request

def test_it(registry):
    registry.put("demo", b"x")
    with urllib.request.urlopen(registry.url + "/v2/demo/tags/list") as answer:
        assert answer.status == 200
    assert registry.seen("/tags/")

def test_more(registry, registry_factory):
    other = registry_factory(referrers=False)
    assert other.address != registry.address
    assert registry.requests == []
"""
OWN = """
import sys
import pytest

@pytest.fixture
def registry():
    return "mine"

def test_it(registry):
    assert registry == "mine"
    assert "aiohttp" not in sys.modules
    assert not [name for name in sys.modules if name.startswith("distore.") and "testing" not in name]
"""
WITHOUT = """
import pytest

def test_it(request):
    assert not request.config.pluginmanager.has_plugin("distore")
    with pytest.raises(pytest.FixtureLookupError):
        request.getfixturevalue("registry")
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Run a stranger's test file; the last line."""

    def pytest_on(text: str, *options: str) -> str:
        (tmp_path / "test_stranger.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
        return (done.stdout + done.stderr).strip().splitlines()[-1]

    return pytest_on


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "options", "said"),
    [(USES, [], "2 passed"), (OWN, [], "1 passed"), (WITHOUT, ["-p", "no:distore"], "1 passed")],
    ids=["uses", "own", "without"],
)
def test_a_stranger_s_tests_pass(run: Callable[..., str], text: str, options: list[str], said: str) -> None:
    assert run(text, *options).startswith(said)


@pytest.mark.slow
def test_tests_side_by_side_have_their_own_registries(run: Callable[..., str]) -> None:
    assert run(USES, "-n", "2").startswith("2 passed")
