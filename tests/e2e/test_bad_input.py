"""Wrong input of every kind: one clear line, a status, and nothing lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytestmark = pytest.mark.slow
Dist = Callable[..., "CompletedProcess[bytes]"]
Peer = Callable[[str], str]


def assert_one_line(done: CompletedProcess[bytes], *parts: str) -> None:
    message = done.stderr.decode()
    assert done.returncode != 0
    assert message.startswith("dist: "), message
    assert message.count("\n") == 1, message
    assert len(message) < 400, message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["path", "sha256:zz"], "64 lower-case hex"),
        (["get", "md5:" + "0" * 32], "unknown algorithm"),
        (["get", "sha256:" + "0" * 100_000], "64 lower-case hex"),
        (["ingest", "x" * 10_000], "the limit is 4096"),
        (["ingest", "a\nb"], "cannot be printed"),
        (["ingest", "r", "--expected-size", "-5"], "'-5'"),
        (["ingest", "r", "--expected-size", "9" * 40], "size"),
        (["ingest", "r", "--timeout", "soon"], "'soon'"),
        (["ingest", "r", "--timeout", "0"], "leaves no time"),
        (["ingest", "r", "--from", "none"], "no such file"),
        (["ingest", "r", "--label", "=x"], "KEY=VALUE"),
        (["ingest", "r", "--label", "k=" + "v" * 5000], "4096"),
        (["list", "--filter", "=="], "position 1"),
        (["list", "xyz"], "beginning of a digest"),
        (["prune", "ingests", "--older-than=-1h"], "duration"),
        (["fsck", "--from", "x"], "--repair"),
        (["fsck", "--repair", "--from", "none"], "not found"),
        (["fsck", "--workers", "0"], "--workers"),
        (["lst"], "did you mean list?"),
        (["list", "--rot"], "--rot"),
        (["--rot"], "--rot"),
        (["list", "--root", ""], "--root"),
        (["fetch", "Redis/UPPER", "latest"], "lower case"),
        (["fetch", "redis:latest", "latest"], "leave out the tag"),
        (["fetch", "redis", "la test"], "tag"),
        (["fetch", "redis", "latest", "nonsense"], "hint"),
    ],
)
def test_a_wrong_word_is_one_line(dist: Dist, words: list[str], part: str) -> None:
    assert_one_line(dist(*words, input=b"x"), part)


def test_a_root_that_is_a_file_is_refused(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")

    for words in (["list"], ["active"], ["ingest", "r"], ["fsck"]):
        assert_one_line(dist(*words, "--root", "file", input=b"x"), "not a folder")

    assert (tmp_path / "file").read_text() == "precious"


def test_a_content_that_is_a_dangling_link_is_refused(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / ".content").symlink_to("nowhere")

    for words in (["list"], ["ingest", "r"]):
        assert_one_line(dist(*words, input=b"x"), "'nowhere'")

    assert not (tmp_path / "nowhere").exists()


def test_a_content_that_is_a_link_to_a_folder_is_followed(dist: Dist, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / ".content").symlink_to("real")

    assert dist("ingest", "r", input=b"x").returncode == 0
    assert (tmp_path / "real" / "blobs").is_dir()


def test_a_store_of_a_newer_version_is_refused_and_not_touched(dist: Dist, tmp_path: Path) -> None:
    dist("ingest", "r", "--label", "a=b", input=b"x")
    with sqlite3.connect(tmp_path / ".content" / "dist.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()

    for words in (["list", "-q"], ["ingest", "s"], ["active"], ["fsck"]):
        assert_one_line(dist(*words, input=b"y"), "newer version", "99")

    assert list((tmp_path / ".content" / "ingest").iterdir()) == []


def test_a_damaged_database_is_told_and_blobs_stay_readable(dist: Dist, tmp_path: Path) -> None:
    digest = dist("ingest", "r", "--label", "a=b", input=b"x").stdout.decode().strip()
    database = tmp_path / ".content" / "dist.db"
    data = database.read_bytes()
    database.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    for extra in ("dist.db-wal", "dist.db-shm"):
        (tmp_path / ".content" / extra).unlink(missing_ok=True)

    assert dist("get", digest).stdout == b"x"
    assert dist("list", "-q").stdout.decode().strip() == digest
    fsck = dist("fsck")
    assert fsck.returncode == 29
    assert b"database: " in fsck.stdout


def test_a_missing_store_is_empty_and_named_ones_are_noted(dist: Dist, tmp_path: Path) -> None:
    quiet, noted = dist("list", "-q"), dist("active", "--root", "none")

    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"", b"")
    assert noted.returncode == 0
    assert noted.stderr.decode() == f"dist: no store at {tmp_path / 'none'} yet\n"
    assert list(tmp_path.iterdir()) == []


def shell(script: str, tmp_path: Path) -> CompletedProcess[bytes]:
    dist = f"{sys.executable} -I -m distore"
    return subprocess.run(
        ["sh", "-c", script.replace("dist ", dist + " ")],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_closed_standard_streams_are_one_line(tmp_path: Path) -> None:
    assert_one_line(shell("dist ingest r <&-", tmp_path), "standard input is closed")
    assert_one_line(shell("dist list >&-", tmp_path), "standard output is closed")
    assert shell("dist list 2>&-", tmp_path).returncode == 0
    assert list(tmp_path.glob("**/data")) == []


def test_a_full_standard_output_is_an_error(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")

    assert_one_line(shell("dist list > /dev/full", tmp_path), "no space left")


def test_a_store_without_write_permission_can_be_read(dist: Dist, tmp_path: Path, peer: Peer) -> None:
    digest = dist("ingest", "r", input=b"x").stdout.decode().strip()
    for folder in (tmp_path / ".content", *(tmp_path / ".content").glob("**/")):
        folder.chmod(0o555)
    command = [sys.executable, "-I", "-m", "distore", "ingest", "s"]
    if os.geteuid() == 0:  # root may write anywhere unless it gives that up
        command = [peer("setpriv"), "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]

    refused = subprocess.run(command, cwd=tmp_path, input=b"y", capture_output=True, timeout=60, check=False)

    assert dist("get", digest).stdout == b"x"
    assert refused.returncode == 16
    assert_one_line(refused, "permission denied")
