"""What a content verb may load: its start is a feature (docs/decisions/0002-start-up.md)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "startup-modules.txt"
# Each of these alone costs several milliseconds.
HEAVY = {
    "asyncio", "concurrent.futures", "dataclasses", "email", "hashlib", "http.client", "importlib.metadata",
    "inspect", "json", "locale", "logging", "pathlib", "shutil", "socket", "sqlite3", "ssl", "subprocess",
    "tempfile", "urllib", "urllib3", "aiohttp",
}  # fmt: skip
VERBS = {
    "active": ["active"],
    "list": ["list"],
    "ls": ["ls"],
    "path": ["path", "sha256:" + "0" * 64],
}


def loaded(words: list[str], folder: Path) -> set[str]:
    """Modules in memory after a verb has run."""
    script = (
        "import sys; from distore.cli.main import main; main(sys.argv[1:]);"
        " sys.stdout.write('\\n'.join(['MODULES', *sys.modules]))"
    )
    command = [sys.executable, "-I", "-c", script, *words, "--root", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.partition("MODULES\n")[2].split())


@pytest.mark.parametrize("verb", VERBS)
def test_a_content_verb_loads_nothing_heavy(verb: str, tmp_path: Path) -> None:
    assert loaded(VERBS[verb], tmp_path) & HEAVY == set()


def test_the_modules_of_ours_that_content_verbs_load_are_these(tmp_path: Path) -> None:
    lines = [
        f"{verb}: {name}"
        for verb, words in VERBS.items()
        for name in sorted(loaded(words, tmp_path))
        if name.startswith("distore")
    ]

    assert lines == GOLDEN.read_text().splitlines()
