"""Sources of bytes: how much they hold, and reading them in large pieces."""

from __future__ import annotations

import os
import select
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distore.content.store import Input


def gather(source: Input, space: memoryview) -> int:
    """Fill ``space`` with what is there now; waits only for the first byte. 0 is the end.

    A pipe gives 64 KiB or so at a time. Small pieces would be hashed and written one after the
    other; large ones are hashed beside the writing.
    """
    size = source.readinto(space) or 0
    fd = _fileno(source)
    while 0 < size < len(space) and fd is not None and _is_ready(fd):
        more = source.readinto(space[size:])
        if not more:
            break  # the end, which the next call finds again
        size += more
    return size


def size_of(source: Input) -> int:
    """Bytes left in a regular file, 0 for what cannot tell."""
    fd = _fileno(source)
    try:
        there = os.fstat(fd) if fd is not None else None
        if fd is None or there is None or not stat.S_ISREG(there.st_mode):
            return 0
        return max(0, there.st_size - os.lseek(fd, 0, os.SEEK_CUR))
    except OSError:
        return 0


def _fileno(source: Input) -> int | None:
    try:
        fd = getattr(source, "fileno", lambda: None)()
    except OSError:  # a stream in memory
        return None
    return fd if isinstance(fd, int) else None


def _is_ready(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
