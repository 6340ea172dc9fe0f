"""A transfer that somebody watches: bars that come and go, and terminals that cannot show them."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Watched = Callable[..., tuple[int, str]]
# The terminal becomes its own, so that Ctrl-C reaches it.
START = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-I", "-m", "distore", *sys.argv[1:]])
"""
LAYERS = [os.urandom(50_000), os.urandom(60_000)]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Run ``dist`` on a terminal: its status and all that it wrote there.

    ``interrupt`` types Ctrl-C once that text has come.
    """

    def run(*words: str, env: Mapping[str, str], interrupt: str = "") -> tuple[int, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", START, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=tmp_path,
            env={**os.environ, **env},
            start_new_session=True,
        )
        os.close(theirs)
        text, typed, end = b"", not interrupt, time.monotonic() + 60
        while time.monotonic() < end:
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                text += os.read(ours, 65536)
            except OSError:  # Linux: nobody has the other side any more
                break
            if not typed and interrupt.encode() in text:
                os.write(ours, b"\x03")
                typed = True
        os.close(ours)
        return process.wait(10), text.decode()

    return run


def last_screen_line(text: str) -> str:
    """What stands in the last line but one after every escape has done its work, roughly."""
    return text.removesuffix("\r\n").rpartition("\n")[2].rpartition("\x1b[2K")[2]


def test_bars_come_and_go_and_leave_the_digest(watched: Watched, registry: FakeRegistry) -> None:
    root = registry.image("team/app", "1", LAYERS)

    status, text = watched("pull", f"{registry.address}/team/app:1", env={"TERM": "xterm"})

    assert status == 0
    assert "total" in text and "\u2501" in text
    assert text.count("fetched sha256:") == 3
    assert text.index("\x1b[?25l") < text.index("\x1b[?25h")  # the cursor is back
    assert last_screen_line(text) == root.digest
    assert text.rpartition("total")[2].count("\x1b[2K") >= 1  # the bar was wiped


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    watched: Watched, registry: FakeRegistry, env: dict[str, str]
) -> None:
    root = registry.image("team/app", "1", LAYERS)

    status, text = watched("pull", f"{registry.address}/team/app:1", env=env)

    assert status == 0
    assert "\x1b" not in text and "\u2501" not in text
    assert text.splitlines()[-1] == root.digest
    assert len(text.splitlines()) == 7


def test_without_colour_there_is_none(watched: Watched, registry: FakeRegistry) -> None:
    registry.image("team/app", "1", LAYERS)
    env = {"TERM": "xterm", "NO_COLOR": "1"}

    status, text = watched("pull", f"{registry.address}/team/app:1", env=env)

    assert status == 0
    assert "total" in text
    assert "\x1b[3" not in text and "\x1b[9" not in text


@pytest.mark.parametrize("columns", ["20", "40", "79", "200"])
def test_a_terminal_of_any_width_will_do(watched: Watched, registry: FakeRegistry, columns: str) -> None:
    registry.image("team/app", "1", LAYERS)
    env = {"TERM": "xterm", "COLUMNS": columns}

    status, text = watched("pull", f"{registry.address}/team/app:1", env=env)

    assert status == 0
    assert "Traceback" not in text


@pytest.mark.parametrize("words", [["-q"], ["--json"]])
def test_quiet_and_json_show_no_bars(watched: Watched, registry: FakeRegistry, words: list[str]) -> None:
    registry.image("team/app", "1", LAYERS)

    status, text = watched("pull", *words, f"{registry.address}/team/app:1", env={"TERM": "xterm"})

    assert status == 0
    assert "\x1b" not in text


def test_ctrl_c_wipes_the_bars_and_says_nothing(
    watched: Watched, registry_factory: Callable[..., FakeRegistry]
) -> None:
    slow = registry_factory(rate=20_000)
    slow.image("team/app", "1", [os.urandom(200_000)])

    status, text = watched("pull", f"{slow.address}/team/app:1", env={"TERM": "xterm"}, interrupt="kB/s")

    assert status == 130
    assert "Traceback" not in text and "dist: " not in text
    assert text.endswith("\x1b[2K")
    assert "\x1b[?25h" in text


def test_an_error_stands_on_a_line_of_its_own(watched: Watched, registry: FakeRegistry) -> None:
    status, text = watched("pull", f"{registry.address}/team/app:1", env={"TERM": "xterm"})

    assert status == 11
    assert text.splitlines()[-1].endswith(
        f"dist: {registry.address}/team/app:1: not found (asked {registry.address})"
    )


def test_a_sync_shows_bars_and_results(watched: Watched, registry: FakeRegistry) -> None:
    for tag in ("1", "2"):
        registry.image("team/app", tag, [*LAYERS, tag.encode()])

    status, text = watched("sync", f"{registry.address}/team/app", "oci:mirror", env={"TERM": "xterm"})

    assert status == 0
    assert "total" in text
    assert [line.rpartition("\x1b[2K")[2].split()[:2] for line in text.splitlines() if "copied" in line] == [
        ["copied", "1"],
        ["copied", "2"],
        ["dist:", "2"],
    ]
