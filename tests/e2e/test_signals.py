"""Ctrl-C, SIGTERM, closed pipes, timeouts, and several processes on one ingest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.oci.digest import Digest

DIST = [sys.executable, "-I", "-m", "distore"]
pytestmark = pytest.mark.slow


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*DIST, *words], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def until(check: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.005)


def feed(process: subprocess.Popen[bytes], data: bytes, folder: Path, ref: str) -> None:
    """Hand over bytes and wait until the store has them."""
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()
    store = LocalStore(str(folder / ".content"))
    until(lambda: any(s.ref == ref and s.offset >= len(data) for s in store.statuses()), process)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_signal_ends_quietly_and_keeps_what_came(tmp_path: Path, number: int, status: int) -> None:
    process = start(tmp_path, "ingest", "r")
    feed(process, b"x" * 200_000, tmp_path, "r")

    process.send_signal(number)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (status, b"", b"")
    store = LocalStore(str(tmp_path / ".content"))
    assert store.status("r").offset == 200_000
    assert store.status("r").owner is None
    with store.writer("r") as writer:
        assert writer.commit() == Digest.of(b"x" * 200_000)


def test_a_timeout_is_one_line_and_keeps_what_came(tmp_path: Path) -> None:
    process = start(tmp_path, "ingest", "r", "--timeout", "500ms")
    feed(process, b"x" * 1000, tmp_path, "r")

    status = process.wait(30)  # its input stays open
    _, err = process.communicate()

    assert status == 24
    assert err.decode() == "dist: ingest 'r': not done after 0.5 s; what came is kept\n"
    assert LocalStore(str(tmp_path / ".content")).status("r").offset == 1000


def test_a_reader_that_leaves_ends_a_listing_quietly(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / ".content"))
    for number in range(1500):
        with store.writer("r") as writer:
            writer.write(b"%d" % number)
            writer.commit()
    script = f"{' '.join(DIST)} list | head -n 1; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=60)

    assert done.stdout.decode().split() == ["DIGEST", "SIZE", "AGE", "141"]
    assert done.stderr == b""


def test_a_second_ingest_follows_the_first_and_needs_no_input(tmp_path: Path) -> None:
    data = b"x" * 100_000
    words = ("ingest", "--expected-digest", Digest.of(data), "r")
    first = start(tmp_path, *words)
    feed(first, data[:1000], tmp_path, "r")
    second = start(tmp_path, *words)
    held = [*DIST, "ingest", "r", "--on-locked", "fail"]
    refused = subprocess.run(held, cwd=tmp_path, input=b"y", capture_output=True, check=False, timeout=30)

    out, _ = first.communicate(data[1000:], timeout=30)
    followed, note = second.communicate(timeout=30)

    assert (first.returncode, second.returncode) == (0, 0)
    assert out == followed == f"{Digest.of(data)}\n".encode()
    assert note.decode() == f"content with digest {Digest.of(data)} already exists\n"
    assert refused.returncode == 23
    host = os.uname().nodename
    expected = f"dist: ingest 'r': locked by pid {first.pid} on {host} (dist ingest) for "
    assert refused.stderr.decode().startswith(expected)


def test_a_second_ingest_takes_over_when_the_first_is_killed(tmp_path: Path) -> None:
    data = b"x" * 100_000
    first = start(tmp_path, "ingest", "--expected-digest", Digest.of(data), "r")
    feed(first, data[:1000], tmp_path, "r")
    second = start(tmp_path, "ingest", "--expected-digest", Digest.of(data), "r")

    first.kill()
    first.communicate()
    out, err = second.communicate(data, timeout=30)

    assert (second.returncode, out) == (0, f"{Digest.of(data)}\n".encode()), err


def test_active_follow_reports_until_the_commit(tmp_path: Path) -> None:
    data = b"x" * 100_000
    writer = start(tmp_path, "ingest", "r", "--expected-size", str(len(data)))
    feed(writer, data[:1000], tmp_path, "r")
    follower = start(tmp_path, "active", "--follow", "r")
    assert follower.stdout is not None
    time.sleep(0.3)  # it has to look once before there is more to see

    assert writer.stdin is not None
    writer.stdin.write(data[1000:60_000])
    writer.stdin.flush()
    progress = follower.stdout.readline()
    writer.communicate(data[60_000:], timeout=30)
    rest, _ = follower.communicate(timeout=30)

    assert progress.decode() == "r  60.0 kB of 100 kB  60 %\n"
    assert rest.decode().splitlines()[-1] == Digest.of(data)
    assert follower.returncode == 0


def test_many_processes_with_one_blob_store_it_once(tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    digest = Digest.of(data)
    (tmp_path / "file").write_bytes(data)
    script = (
        "for n in 1 2 3 4 5 6 7 8; do "
        f"{' '.join(DIST)} ingest --expected-digest {digest} job < file & "
        f"{' '.join(DIST)} ingest other-$n < file & done; wait"
    )

    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=120)

    assert done.stdout.decode().split() == [digest] * 16, done.stderr
    assert [path.name for path in (tmp_path / ".content/blobs/sha256").iterdir()] == [digest.encoded]
    assert list((tmp_path / ".content/ingest").iterdir()) == []
