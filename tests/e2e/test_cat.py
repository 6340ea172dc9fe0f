"""``dist cat``: files of an image to standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.image_files import Dist
from tests.unit.diff.applied_trees import layer, member
from tests.unit.unpack.layered import put_image

from distore.app import App
from distore.config import Config


def test_files_are_written_one_after_the_other(files: Dist) -> None:
    assert files.raw("cat", "app:1:/etc/passwd") == b"root\nweb\n"
    assert files.raw("cat", "app:2:/up/passwd", "app:1:/bin/su2") == b"root\ndb0\n#!su"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("cat", "app:1"), 2, "'app:1': want IMAGE:/PATH, such as"),
        (("cat", ":/etc"), 2, "want IMAGE:/PATH"),
        (("cat", "app:1:/"), 14, "image app:1: '/' is a folder, want a file"),
        (("cat", "app:1:/etc/passwd", "app:1:/none"), 11, "image app:1: '/none' is not there"),
        (("cat", "app:1:/dev/null"), 14, "'/dev/null' is a character device, want a file"),
        (("cat", "app:1:/etc/mtab/../x"), 11, "'/etc/mtab' is not there"),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_is_written(
    files: Dist, words: tuple[str, ...], status: int, says: str
) -> None:
    assert files.raw(*words, status=status) == b""
    assert says in files.error
    assert files.error.count("\n") == 1


def test_the_platform_that_is_asked_for_is_read(files: Dist) -> None:
    assert files.raw("cat", "--platform", "linux/amd64", "app:1:/etc/passwd") == b"root\nweb\n"
    assert files.raw("cat", "--platform", "linux/arm64", "app:1:/etc/passwd", status=11) == b""
    files("cat", "--platform", "no such", "app:1:/etc/passwd", status=2)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A store with an image that takes a while to write."""
    app = App(Config(root=str(tmp_path / "large")))
    root = put_image(app.content, layer(member("zeros", data=bytes(64_000_000))))
    app.images.put("docker.io/library/large:1", root)
    app.close()
    return tmp_path / "large"


@pytest.mark.slow
def test_a_closed_pipe_and_an_interrupt_end_it_quietly(large: Path) -> None:
    command = [sys.executable, "-I", "-m", "distore", "--root", str(large), "cat", "large:1:/zeros"]
    for end, status in (("close", 141), ("interrupt", 130)):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert running.stdout is not None and running.stderr is not None
            assert running.stdout.read(10) == bytes(10)
            if end == "close":
                running.stdout.close()
            else:
                os.kill(running.pid, signal.SIGINT)
            error = running.stderr.read()
            assert running.wait(30) == status
            assert error == b""


def test_a_store_that_cannot_be_written_is_read_all_the_same(files: Dist) -> None:
    (files.root / "listings").write_text("in the way")

    assert files.raw("cat", "app:1:/etc/passwd") == b"root\nweb\n"
    assert json.loads(files("ls", "--json", "app:1:/etc/passwd"))["size"] == 9
