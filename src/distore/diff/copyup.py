"""Copy up: have a file of a lower layer in the upper one, as overlayfs does it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from distore._internal.holes import stretches
from distore.diff.entry import write

if TYPE_CHECKING:
    from distore.diff.below import Below
    from distore.diff.entry import Maker
    from distore.diff.safepath import Root

_PIECE: Final = 1024 * 1024  # bytes read at a time
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_up(below: Below, layer: int, path: bytes, root: Root, maker: Maker) -> None:
    """Copy what ``below.find`` found, which is no folder, with all that it has, to the same path.

    Raises:
        OSError: As the system does.
    """
    parent, _, base = path.rpartition(b"/")
    folder = root.folder(parent)
    info = os.stat(path, dir_fd=below.fds[layer], follow_symlinks=False)
    if stat.S_ISREG(info.st_mode):
        source = below.open(layer, path, os.O_RDONLY)
        try:
            _copy_file(source, folder, base, info, maker)
        finally:
            os.close(source)
        return
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(path, dir_fd=below.fds[layer]), base, dir_fd=folder)
    else:
        os.mknod(base, stat.S_IFMT(info.st_mode) | 0o600, info.st_rdev, dir_fd=folder)
    maker.copy_by_name(f"/proc/self/fd/{below.fds[layer]}/".encode() + path, folder, base, info)


def _copy_file(source: int, folder: int, base: bytes, info: os.stat_result, maker: Maker) -> None:
    fd = os.open(base, _NEW, 0o600, dir_fd=folder)
    try:
        for start, end in stretches(source, info.st_size):  # a file of one hole may be larger than the disk
            os.lseek(source, start, os.SEEK_SET)
            os.lseek(fd, start, os.SEEK_SET)
            left = end - start
            while left and (data := os.read(source, min(_PIECE, left))):
                write(fd, memoryview(data))
                left -= len(data)
        os.ftruncate(fd, info.st_size)
        maker.copy(f"/proc/self/fd/{source}", fd, info)
    finally:
        os.close(fd)
