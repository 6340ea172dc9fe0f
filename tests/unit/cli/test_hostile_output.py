"""What strangers write does nothing to a terminal, and is never more than one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distore.cli import output
from distore.cli.main import main
from distore.cli.output import Output
from distore.cli.progress import show
from distore.errors import NotFound
from distore.testing.server import FakeRegistry
from distore.transfer.progress import Noted

EVIL = "\x1b]0;pwned\x07\x9b31m\u202e\ud800\nforged"


def test_a_note_is_one_line_that_no_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()

    out.note(f"dist: ü {EVIL}")
    out.error(NotFound(EVIL), subject=EVIL)

    first, second, end = capsys.readouterr().err.split("\n")
    assert first == r"dist: ü \x1b]0;pwned\x07\x9b31m\u202e\ud800\nforged"
    assert second.isprintable()
    assert end == ""


def test_a_json_line_is_one_line_that_no_terminal_obeys() -> None:
    line = output.json_line({"a": EVIL, "astral": "\U000e0001", "ü": '"\\'})

    assert line.isprintable()
    assert json.loads(line) == {"a": EVIL, "astral": "\U000e0001", "ü": '"\\'}


@pytest.mark.parametrize("terminal", [True, False])
def test_a_note_of_a_transfer_is_inert_too(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")

    show([Noted(text="evil \x1b]0;pwned\x07")], Output(), quiet=False, clock=lambda: 0.0)

    assert "\x1b]0;" not in capsys.readouterr().err


def test_an_error_at_the_end_is_inert_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--\x1b[31m"]) == 2

    assert "\x1b" not in capsys.readouterr().err


def test_a_tag_that_is_none_is_reported_without_harm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeRegistry() as registry:
        registry.tag("demo", "good", b"{}")
        registry.repositories["demo"]["\x1b]0;pwned\x07"] = registry.repositories["demo"]["good"]
        words = ["sync", f"{registry.address}/demo", f"oci:{tmp_path / 'layout'}", "--exclude", "good"]

        status = main(["--root", str(tmp_path / "store"), *words])

    assert status == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.err + said.out
    assert "bad tag" in said.err
