"""File trees: walked, measured and removed however deep they nest, with a few descriptors.

Links in a tree are never followed. All functions raise OSError as the system does.
"""

from __future__ import annotations

import errno
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
                    fd = _changed(fd, "..")
                continue
            try:
                fd = _changed(fd, waiting[-1].pop())
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


def _changed(fd: int, name: str) -> int:
    """The descriptor of another folder in the place of one."""
    new = open_folder(name, fd)
    os.close(fd)
    return new


def remove(path: str) -> int:
    """Remove a folder and all below it; the bytes on the disk that this freed.

    Folders are moved to the top before they are emptied, so that no path gets long and none is
    entered twice.
    """
    freed, number = 0, 0
    top = open_folder(path)
    try:
        waiting = ["."]
        while waiting:
            name = waiting.pop()
            fd = _opened(name, top)
            try:
                for entry in entries(fd):
                    if not entry.is_dir(follow_symlinks=False):
                        freed += _unlinked(entry.name, fd)
                        continue
                    if name == ".":
                        waiting.append(entry.name)
                        continue
                    number = _moved(entry.name, fd, top, number + 1)
                    waiting.append(f".{number}")
            finally:
                os.close(fd)
            if name != ".":
                freed += _BLOCK * os.stat(name, dir_fd=top).st_blocks
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    fsops.remove_directory(path)
    return freed


def _opened(name: str, top: int) -> int:
    """A folder that may be emptied, whatever its mode is (for those who are not root)."""
    try:
        fd = open_folder(name, top)
        if os.geteuid() == 0 or os.fstat(fd).st_mode & _OWNER == _OWNER:
            return fd
        os.close(fd)
    except PermissionError:
        pass
    os.chmod(name, _OWNER, dir_fd=top)
    return open_folder(name, top)


def _moved(name: str, fd: int, top: int, number: int) -> int:
    """Move a folder to the top, to a name that no removal before this one has left; its number."""
    while True:
        try:
            os.rename(name, f".{number}", src_dir_fd=fd, dst_dir_fd=top)
        except PermissionError:  # its owner must be allowed to write to it, to change its ``..``
            os.chmod(name, _OWNER, dir_fd=fd)
            os.rename(name, f".{number}", src_dir_fd=fd, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            number += 1
            continue
        return number


def _unlinked(name: str, fd: int) -> int:
    there = os.stat(name, dir_fd=fd, follow_symlinks=False)
    os.unlink(name, dir_fd=fd)
    return there.st_blocks * _BLOCK if there.st_nlink == 1 else 0
