"""Black box: strace kills ``dist ingest`` at each file-system call it makes, and fails each of them.

The calls counted are those of one undisturbed run; every case is a process of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BLOB = os.urandom(300_000)
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
# Calls with which a store is written. Python's own start-up uses openat and mkdir too; only those
# that name the store count.
CALLS = (
    "openat",
    "mkdir",
    "flock",
    "pwrite64",
    "write",
    "ftruncate",
    "fsync",
    "fchmod",
    "rename",
    "unlink",
    "rmdir",
)
DIST = [sys.executable, "-I", "-m", "distore"]
INGEST = [*DIST, "ingest", "--expected-digest", DIGEST, "--expected-size", str(len(BLOB)), "job"]


def run(command: list[str], root: Path) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "DIST_ROOT": str(root)}
    return subprocess.run(command, input=BLOB, capture_output=True, env=env, timeout=60, check=False)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """(call, how many-th of its name in the main thread) for each call that touches the store."""
    import shutil

    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get("CI"):
            pytest.fail("strace is missing; .ci/run installs it")
        pytest.skip("strace is not installed")
    # The first run may compile modules, which is more calls than any later one makes.
    run(INGEST, tmp_path_factory.mktemp("warm") / "s")
    found: list[tuple[str, int]] = []
    for call in CALLS:
        base = tmp_path_factory.mktemp("count")
        root, log = base / "s", base / "log"
        done = run([strace, "-y", "-o", str(log), "-e", f"trace={call}", *INGEST], root)
        assert done.returncode == 0, done.stderr
        lines = [line for line in log.read_text().splitlines() if re.match(rf"{call}\(", line)]
        found += [(call, n) for n, line in enumerate(lines, 1) if str(root) in line]
    assert len(found) > 30
    return found


def check(root: Path, where: str) -> None:
    """No wrong blob; a second ingest ends it; fsck is content."""
    for blob in (root / "blobs").glob("*/*"):
        assert hashlib.new(blob.parent.name, blob.read_bytes()).hexdigest() == blob.name, where
    again = run(INGEST, root)
    assert again.returncode == 0, (where, again.stderr)
    assert (root / "blobs" / "sha256" / DIGEST.removeprefix("sha256:")).read_bytes() == BLOB, where
    fsck = run([*DIST, "fsck"], root)
    assert fsck.returncode == 0, (where, fsck.stdout, fsck.stderr)


def test_kill_9_at_any_file_system_call_leaves_nothing_wrong(
    calls: list[tuple[str, int]],
    tmp_path: Path,
    peer: Callable[[str], str],
    count: Callable[[str, int], None],
) -> None:
    for case, (call, number) in enumerate(calls):
        root = tmp_path / str(case)
        inject = f"inject={call}:signal=KILL:when={number}"
        done = run([peer("strace"), "-o", "/dev/null", "-e", inject, *INGEST], root)
        where = f"kill at {call} {number}"
        assert done.returncode in (-9, 137), (where, done.returncode, done.stderr)

        check(root, where)
    count("kill -9 of dist ingest at a file-system call", len(calls))


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_an_error_of_any_call_is_one_line_and_loses_nothing(
    error: str,
    calls: list[tuple[str, int]],
    tmp_path: Path,
    peer: Callable[[str], str],
    count: Callable[[str, int], None],
) -> None:
    harmless = 0
    for case, (call, number) in enumerate(calls):
        root = tmp_path / str(case)
        inject = f"inject={call}:error={error}:when={number}"
        done = run([peer("strace"), "-o", "/dev/null", "-e", inject, *INGEST], root)
        where = f"{error} at {call} {number}"
        harmless += done.returncode == 0
        message = done.stderr.decode()
        assert "Traceback" not in message and "internal error" not in message, (where, message)
        assert done.returncode == 0 or message.count("\n") == 1, (where, message)

        check(root, where)
    assert harmless < len(calls) / 2
    count(f"{error} from a file-system call, {harmless} of them harmless", len(calls))


def test_interrupted_calls_change_nothing(
    calls: list[tuple[str, int]],
    tmp_path: Path,
    peer: Callable[[str], str],
    count: Callable[[str, int], None],
) -> None:
    cases = [
        (call, n)
        for call, n in calls
        if call in ("openat", "pwrite64", "write", "ftruncate", "fsync", "flock")
    ]
    for case, (call, number) in enumerate(cases):
        root = tmp_path / str(case)
        inject = f"inject={call}:error=EINTR:when={number}"
        done = run([peer("strace"), "-o", "/dev/null", "-e", inject, *INGEST], root)

        assert done.returncode == 0, (call, number, done.stderr)
    count("EINTR from a file-system call", len(cases))
