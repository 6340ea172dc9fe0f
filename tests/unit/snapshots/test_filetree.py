"""Trees are measured, copied and removed however they are made."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from distore._internal import fsops
from distore._internal.holes import stretches
from distore.snapshots import filetree
from distore.snapshots.copying import copy_tree
from distore.testing.snapshot_contents import described, make_odd_files

DEEP = 1500  # folders in each other, with names that make a path of over 4096 bytes


def nest(path: Path, depth: int) -> None:
    """Folders within folders, with a file in the innermost."""
    fd = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("folder", dir_fd=fd)
        inner = os.open("folder", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)


@pytest.mark.slow
def test_a_tree_that_is_deeper_than_a_path_is_long_is_copied_measured_and_removed(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
    nest(source, DEEP)

    copy_tree(str(source), str(target))

    assert filetree.usage(str(source)).inodes == DEEP + 2
    assert filetree.usage(str(target)).inodes == DEEP + 2
    for folder in (source, target):
        assert filetree.remove(str(folder)) >= DEEP * 4096
    assert list(tmp_path.iterdir()) == []


def test_removal_frees_what_no_other_name_keeps_and_follows_no_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"x")
    tree = tmp_path / "tree"
    (tree / "fs" / "folder").mkdir(parents=True)
    (tree / "fs" / "link").symlink_to(outside)
    (tree / "fs" / "folder" / "up").symlink_to("..")
    (tree / "fs" / "large").write_bytes(b"x" * 100_000)
    (tree / "fs" / "shared").write_bytes(b"x" * 100_000)
    os.link(tree / "fs" / "shared", outside / "shared")
    os.sync()

    freed = filetree.remove(str(tree))

    assert 100_000 <= freed < 200_000
    assert sorted(os.listdir(outside)) == ["kept", "shared"]
    assert not tree.exists()


NOBODY = """
import os, sys
from distore.snapshots import filetree
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
os.makedirs("tree/fs/shut/inner")
os.chmod("tree/fs/shut", 0)
os.chmod("tree/fs", 0o500)
filetree.remove("tree")
"""


@pytest.mark.slow
def test_a_folder_without_permissions_is_removed_by_its_owner(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    subprocess.run([sys.executable, "-I", "-c", NOBODY], cwd=tmp_path, check=True, timeout=60)

    assert list(tmp_path.iterdir()) == []


def test_usage_is_zero_of_nothing_but_the_folder(tmp_path: Path) -> None:
    used = filetree.usage(str(tmp_path))

    assert used.inodes == 1
    assert used.size == os.stat(tmp_path).st_blocks * 512


@pytest.mark.parametrize("way", ["clone", "range", "plain"])
def test_a_copy_is_all_that_the_tree_is(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    make_odd_files(source)
    source.chmod(0o2750)
    before = described(source)
    if way == "clone":  # as a file system that shares blocks: the copy is whole at once

        def clone(old: int, new: int) -> None:
            os.write(new, os.pread(old, os.fstat(old).st_size, 0))
            os.ftruncate(new, os.fstat(old).st_size)

        monkeypatch.setattr(fsops, "clone", clone)
    if way == "plain":
        monkeypatch.setattr(os, "copy_file_range", _refusing)

    copy_tree(str(source), str(target))

    copied = described(target)
    if way == "clone":  # which has no holes here
        before = {name: _without_holes(each) for name, each in before.items()}
        copied = {name: _without_holes(each) for name, each in copied.items()}
    assert copied == before
    assert stat.S_IMODE(target.stat().st_mode) == 0o2750
    assert target.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert not {path.stat().st_ino for path in target.rglob("*") if path.is_file()} & {
        path.stat().st_ino for path in source.rglob("*") if path.is_file()
    }


def _without_holes(described: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(each[:2] if isinstance(each, tuple) and len(each) == 3 else each for each in described)


def _refusing(*_arguments: object) -> int:
    raise OSError(errno.EXDEV, "no")


def test_a_file_system_that_tells_no_holes_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    fd = os.open(path, os.O_RDONLY)

    def lseek(_fd: int, _offset: int, _how: int) -> int:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "lseek", lseek)

    assert stretches(fd, 10) == [(0, 10)]
    os.close(fd)


def test_capabilities_and_setuid_survive_the_change_of_owner(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "ping").write_bytes(b"x")
    os.chown(source / "ping", 7, 8)
    (source / "ping").chmod(0o6755)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(source / "ping", "security.capability", capability)

    copy_tree(str(source), str(target))

    there = (target / "ping").stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (7, 8, 0o6755)
    assert os.getxattr(target / "ping", "security.capability") == capability
