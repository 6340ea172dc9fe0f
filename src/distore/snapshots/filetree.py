"""File trees: walked, measured and removed however deep they nest, with a few descriptors.

Links in a tree are never followed. All functions raise OSError as the system does.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore.snapshots.snapshotter import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK: Final = 512  # bytes of st_blocks (stat(2))
_OWNER: Final = 0o700


def open_folder(path: str | bytes, at: int | None = None) -> int:
    """A descriptor of a folder; a link is none."""
    return os.open(path, _FOLDER, dir_fd=at)


def entries(fd: int) -> list[os.DirEntry[str]]:
    """What an open folder has."""
    with os.scandir(fd) as found:
        return list(found)


def usage(path: str) -> Usage:
    """Files and folders, and bytes on the disk; a file with several names counts once.

    Somebody may change the tree meanwhile; what goes is left out, and what lies in a folder that
    this user may not read.
    """
    inodes, blocks = 0, 0
    seen: set[int] = set()
    for there in _walk(path):
        if there.st_nlink > 1 and not stat.S_ISDIR(there.st_mode):
            if there.st_ino in seen:
                continue
            seen.add(there.st_ino)
        inodes, blocks = inodes + 1, blocks + there.st_blocks
    return Usage(inodes=inodes, size=blocks * _BLOCK)


def _walk(path: str) -> Iterator[os.stat_result]:
    """Every inode of a tree: one folder at a time is open, and left by ``..``."""
    fd = open_folder(path)
    try:
        yield os.fstat(fd)
        waiting: list[list[str]] = [[]]
        for entry in entries(fd):
            yield from _met(entry, waiting[-1])
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                if waiting:
                    fd = changed(fd, "..")
                continue
            try:
                fd = changed(fd, waiting[-1].pop())
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            waiting.append([])
            for entry in entries(fd):
                yield from _met(entry, waiting[-1])
    finally:
        os.close(fd)


def _met(entry: os.DirEntry[str], folders: list[str]) -> Iterator[os.stat_result]:
    try:
        there = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    yield there
    if stat.S_ISDIR(there.st_mode):
        folders.append(entry.name)


def changed(fd: int, name: str) -> int:
    """The descriptor of a folder in, or above, an open one, in the place of that."""
    return _replaced(fd, open_folder(name, fd))


def remove(path: str) -> int:
    """Remove a folder and all below it, which nobody else changes; the bytes on the disk that this freed."""
    freed = 0
    above: list[str] = []  # the names that lead to the open folder
    fd = _opened(path, None)
    try:
        waiting = [_emptied(fd)]
        while True:
            folders, size = waiting[-1]
            freed += size
            waiting[-1] = (folders, 0)
            if folders:
                above.append(folders.pop())
                fd = _replaced(fd, _opened(above[-1], fd))
                waiting.append(_emptied(fd))
                continue
            waiting.pop()
            if not waiting:
                break
            freed += os.fstat(fd).st_blocks * _BLOCK
            fd = changed(fd, "..")
            os.rmdir(above.pop(), dir_fd=fd)
    finally:
        os.close(fd)
    fsops.remove_directory(path)
    return freed


def _emptied(fd: int) -> tuple[list[str], int]:
    """The folders in a folder, after the files in it were removed, and what that freed."""
    folders, freed = [], 0
    for entry in entries(fd):
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
            continue
        there = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
        os.unlink(entry.name, dir_fd=fd)
        freed += there.st_blocks * _BLOCK if there.st_nlink == 1 else 0
    return folders, freed


def _opened(name: str, at: int | None) -> int:
    """A folder that may be emptied, whatever its mode is (for those who are not root)."""
    try:
        fd = open_folder(name, at)
        if os.geteuid() == 0 or os.fstat(fd).st_mode & _OWNER == _OWNER:
            return fd
        os.close(fd)
    except PermissionError:
        pass
    os.chmod(name, _OWNER, dir_fd=at)
    return open_folder(name, at)


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new
