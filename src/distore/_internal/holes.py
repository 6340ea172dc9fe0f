"""Holes: the parts of files that take no room."""

from __future__ import annotations

import errno
import os


def stretches(fd: int, size: int) -> list[tuple[int, int]]:
    """Where an open file of ``size`` bytes has some, from (inclusive) and to (exclusive).

    Raises:
        OSError: As the system does.
    """
    found: list[tuple[int, int]] = []
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole to the end
                return found
            return [(0, size)]  # the file system does not tell
        end = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, min(end, size)))
    return found
