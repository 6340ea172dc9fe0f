"""Real file systems: full, read-only, and one that shares blocks. Needs root to mount them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DIST = [sys.executable, "-I", "-m", "distore"]
SMALL = os.urandom(200_000)
LARGE = os.urandom(3_000_000)


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", *words, str(folder)], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def dist(*words: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*DIST, *words], input=input, capture_output=True, timeout=60, check=False)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_full_disk_is_one_line_and_what_came_is_kept(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        root = ["--root", str(disk / "store")]
        assert dist("ingest", "small", *root, input=SMALL).returncode == 0

        full = dist("ingest", "large", *root, input=LARGE)
        kept = dist("active", "-q", *root)
        fsck = dist("fsck", *root)
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        again = dist("ingest", "large", "--expected-digest", digest(LARGE), *root, input=LARGE)

        assert full.returncode == 27
        assert full.stderr.decode() == "dist: ingest 'large': no space left on device\n"
        assert kept.stdout == b"large\n"
        assert fsck.returncode == 0
        assert again.stdout.decode().strip() == digest(LARGE)
        assert dist("get", digest(SMALL), *root).stdout == SMALL


def test_a_full_disk_resumes_where_it_stopped(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        root = ["--root", str(disk / "store")]
        assert dist("ingest", "--keep", "large", *root, input=LARGE).returncode == 27
        offset = int(dist("ingest", "--keep", "--resume", "large", *root).stdout.split()[1])
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)

        done = dist("ingest", "--resume", "large", *root, input=LARGE[offset:])

        assert offset > 500_000
        assert done.stdout.decode().strip() == digest(LARGE)


def test_a_size_that_cannot_fit_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        root = ["--root", str(disk / "store")]

        done = dist("ingest", "large", "--expected-size", str(len(LARGE)), *root, input=LARGE)

        assert done.returncode == 27
        assert b'"offset":0' in dist("active", "--json", *root).stdout


def test_a_disk_without_room_for_anything_is_one_line(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m,nr_inodes=2", "tmpfs") as disk:
        done = dist("ingest", "r", "--root", str(disk / "store"), input=SMALL)

        assert done.returncode == 27
        assert done.stderr.decode().count("\n") == 1


def test_a_read_only_store_can_be_read_and_says_why_it_takes_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=4m", "tmpfs") as disk:
        root = ["--root", str(disk / "store")]
        assert dist("ingest", "r", "--label", "a=b", *root, input=SMALL).returncode == 0
        dist("ingest", "--keep", "kept", *root, input=b"x")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        assert dist("get", digest(SMALL), *root).stdout == SMALL
        assert dist("info", digest(SMALL), *root).stdout.endswith(b"label    a=b\n")
        assert dist("list", "-q", "--filter", "labels.a==b", *root).stdout.decode().strip() == digest(SMALL)
        assert dist("active", "-q", *root).stdout == b"kept\n"
        assert dist("fsck", *root).returncode == 0
        for words in (
            ["ingest", "new"],
            ["delete", digest(SMALL)],
            ["abort", "kept"],
            ["label", digest(SMALL), "c=d"],
            ["commit", "kept"],
        ):
            done = dist(*words, *root, input=b"y")
            assert done.returncode == 26, (words, done.stderr)
            assert done.stderr.decode().count("\n") == 1
            assert "read" in done.stderr.decode()


def test_a_file_shares_its_blocks_where_the_file_system_can(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 512 * 1024 * 1024)
    subprocess.run([peer("mkfs.xfs"), "-q", "-m", "reflink=1", str(image)], check=True)
    try:
        mount = mounted(tmp_path / "disk", "-o", "loop", str(image))
        disk = mount.__enter__()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel cannot mount an XFS image: {error.stderr.decode().strip()}")
    try:
        (disk / "file").write_bytes(LARGE * 20)
        subprocess.run(["sync"], check=True)
        before = os.statvfs(disk).f_bfree

        done = dist(
            "ingest", "--from", str(disk / "file"), "--link", "reflink", "--root", str(disk / "store")
        )
        (disk / "file").write_bytes(b"changed")
        subprocess.run(["sync"], check=True)

        assert done.stdout.decode().strip() == digest(LARGE * 20), done.stderr
        assert (before - os.statvfs(disk).f_bfree) * os.statvfs(disk).f_bsize < len(LARGE) * 10
        assert dist("get", digest(LARGE * 20), "--root", str(disk / "store")).stdout == LARGE * 20
    finally:
        mount.__exit__(None, None, None)
