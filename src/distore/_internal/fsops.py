"""Every system call that makes bytes or names durable.

Nothing else in distore writes to a store, so this module is also the seam where tests cut the
power: ``distore.testing.faults`` wraps these functions to record their order, to crash before
the n-th of them, and to return errors. Call them as ``fsops.name(...)``, never import the names.

All of them raise OSError unchanged and retry EINTR as Python does (PEP 475).
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Bytes given to one write. The page cache takes folios as large as the write, and looking for large
# ones is dear on a machine that has been up for a while: 1 GiB in pieces of 1 MiB took 1.4 s of
# kernel time, in pieces of 64 KiB 0.4 s (Linux 6.18, ext4).
_PIECE: Final = 64 * 1024
_SYNC_FILE_RANGE_WRITE: Final = 2  # linux/fs.h
_FALLOC_FL_KEEP_SIZE: Final = 1  # linux/falloc.h
_FICLONE: Final = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)


def open_file(path: str) -> int:
    """Open for reading and writing, made when missing; the file descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def write(fd: int, data: ReadableBuffer, offset: int) -> None:
    """Write all of ``data`` at ``offset``."""
    view = memoryview(data).cast("B")
    while view:
        done = os.pwrite(fd, view[:_PIECE], offset)
        view = view[done:]
        offset += done


def put_text(path: str, text: str) -> None:
    """Replace a small file whose loss costs nothing but a listing; not synced."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def put_line(path: str, line: str) -> None:
    """As ``put_text``, for a line that ends itself: whoever dies here leaves the old line or the new
    one, and perhaps the rest of a longer old one behind it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.pwrite(fd, line.encode(), 0)
    finally:
        os.close(fd)


def truncate(fd: int, size: int) -> None:
    """Cut the file to ``size`` bytes."""
    os.ftruncate(fd, size)


def clone(source: int, target: int) -> None:
    """Make ``target`` share the blocks of ``source`` (reflink)."""
    fcntl.ioctl(target, _FICLONE, source)


def reserve(fd: int, size: int) -> None:
    """Reserve blocks up to ``size`` bytes, the file's own size unchanged.

    A full disk says so before the first byte, and later writes find their blocks in one piece.
    Nothing where the file system cannot do it.
    """
    import ctypes  # 5 ms, and only large files come here

    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate
    except (OSError, AttributeError):
        return
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while call(fd, _FALLOC_FL_KEEP_SIZE, 0, size):
        code = ctypes.get_errno()
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(code, os.strerror(code))
        if code != errno.EINTR:
            return


def start_write_back(fd: int, offset: int, size: int) -> None:
    """Begin to write a range to the device and return at once: a hint, which promises nothing.

    The fsync at the end then has little left to wait for, and the page cache does not fill up
    with dirty pages until the kernel makes every writer wait.
    """
    import ctypes  # 5 ms, and only large files come here

    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call(fd, offset, size, _SYNC_FILE_RANGE_WRITE)


def sync_file(fd: int) -> None:
    """Return once the file's bytes and size are on the device."""
    os.fsync(fd)


def sync_file_system(path: str) -> None:
    """Return once everything on the file system that the folder lies on is on the device: one call for
    any number of files (syncfs(2)).

    Linux 5.8 and later report a write-back that failed since the folder was opened.
    """
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).syncfs
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while call(fd):
            code = ctypes.get_errno()
            if code != errno.EINTR:
                raise OSError(code, os.strerror(code))
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Return once the names in the folder are on the device."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def set_mode(fd: int, mode: int) -> None:
    """Change the permission bits."""
    os.fchmod(fd, mode)


def make_writable(path: str) -> None:
    """Give the owner of a file write permission."""
    os.chmod(path, 0o644, follow_symlinks=True)


def rename(source: str, target: str) -> None:
    """Move a name, replacing the target at once."""
    os.rename(source, target)


def link(source: str, target: str) -> None:
    """Give a file a second name; fails when the target exists."""
    os.link(source, target, follow_symlinks=False)


def unlink(path: str) -> None:
    """Remove a name."""
    os.unlink(path)


def remove_directory(path: str) -> None:
    """Remove an empty folder."""
    os.rmdir(path)


def make_directory(path: str, mode: int = 0o755) -> None:
    """Make one folder."""
    os.mkdir(path, mode)


def ensure_directory(path: str) -> None:
    """Make a folder and what is missing above it, durably; nothing when it is there."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path) or "."
    for folder in reversed(missing):
        try:
            make_directory(folder)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise
        sync_directory(os.path.dirname(folder) or ".")
