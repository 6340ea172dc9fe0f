"""The fields of --json, golden: programs read them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from distore.cli.main import main
from distore.content.local.store import LocalStore

GOLDEN = Path(__file__).parents[2] / "golden" / "cli" / "json.txt"
NOW = 1_767_323_045.123456


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = LocalStore(str(tmp_path / "s"), now=lambda: NOW)
    with store.writer("r") as writer:
        writer.write(b"hello\n")
        writer.commit(labels={"a": "b"})
    with store.writer("kept", total=10) as writer:
        writer.write(b"123")
    return tmp_path / "s"


def test_json_lines_are_those_of_the_golden_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hello = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    commands = [
        ["list"],
        ["active"],
        ["info", hello],
        ["path", hello],
        ["label", hello, "c=d"],
        ["fsck"],
        ["prune", "ingests", "--older-than", "0", "--dry-run"],
        ["abort", "kept"],
        ["delete", hello],
    ]
    lines = []
    for command in commands:
        main([*command, "--json", "--root", str(root)])
        out = capsys.readouterr().out.replace(str(root), "ROOT")
        # Moments of the commit and of the change differ from run to run.
        out = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME", out)
        assert all(isinstance(json.loads(line), dict) for line in out.splitlines())
        lines += [f"$ dist {command[0]} --json", *out.splitlines()]

    assert lines == GOLDEN.read_text().splitlines()
