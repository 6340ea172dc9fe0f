"""MeetingPlace: the private folder with the sockets of the workers of one server."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from typing import Final, NamedTuple

from distore.errors import InvalidArgument

_PREFIX: Final = "dist-serve-"
_MAX_PATH: Final = 90  # bytes of the folder: a socket's address has room for 107


class MeetingPlace(NamedTuple):
    """``held``: a descriptor that workers inherit; its lock says that somebody is there."""

    folder: str
    held: int

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.held)


def make(parent: str, *, uid: int) -> MeetingPlace:
    """A new one in ``parent``; those that servers left behind which were killed are removed.

    Raises:
        InvalidArgument: ``parent`` has too long a name.
    """
    _sweep(parent, uid)
    while True:
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        if len(os.fsencode(folder)) > _MAX_PATH:
            os.rmdir(folder)
            raise InvalidArgument(f"{folder}: too long a path for sockets; TMPDIR names a folder")
        held = _lock(folder)
        if held is not None and os.path.isdir(folder):
            return MeetingPlace(folder, held)
        if held is not None:  # somebody who starts took it for one that was left behind
            os.close(held)


def _sweep(parent: str, uid: int) -> None:
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(_PREFIX):
                continue
            with suppress(OSError):
                there = entry.stat(follow_symlinks=False)
                if not stat.S_ISDIR(there.st_mode) or there.st_uid != uid:
                    continue
                if (held := _lock(entry.path)) is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(held)


def _lock(folder: str) -> int | None:
    """A descriptor that holds the folder; None: somebody else holds it, or it has gone."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held
