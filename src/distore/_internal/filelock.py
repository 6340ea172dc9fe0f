"""A lock file that says who holds it: flock for the truth, text inside for messages.

The kernel drops a flock when its holder dies, so a lock can never be left behind; the text can,
and means nothing unless the lock is held.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

from distore._internal import fsops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_TEXT: Final = 8192  # bytes read from a lock file
# A look at a lock holds it shared for a moment; somebody who wants it tries again that often.
_TRIES: Final = 6
_PAUSE: Final = 0.01  # seconds


class FileLock:
    """A held lock; ``release`` lets go and keeps the file."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    def write(self, fields: Mapping[str, str]) -> None:
        """Replace the text. A failure is ignored: it only serves messages."""
        lines = (f"{key} {' '.join(value.split())}\n" for key, value in fields.items())
        try:
            fsops.truncate(self._fd, 0)
            fsops.write(self._fd, "".join(lines).encode(errors="replace")[:MAX_TEXT], 0)
        except OSError:
            return

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)  # the last descriptor: closing drops the lock
            self._fd = -1


def acquire(path: str, *, sleep: Callable[[float], None]) -> FileLock | None:
    """Take the lock, or None when somebody else holds it.

    The folder of ``path`` must exist (FileNotFoundError). The holder before us may have removed
    the file while we waited for it: a lock on a name that is gone guards nothing, so the file is
    looked up again after it is locked.
    """
    tries = 0
    while True:
        fd = fsops.open_file(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_named(fd, path):
                return FileLock(path, fd)
        except BlockingIOError:
            tries += 1
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if tries == _TRIES:
            return None
        if tries:
            sleep(_PAUSE)


def is_named(fd: int, path: str) -> bool:
    """True while ``path`` still names the open file."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def open_to_look(path: str) -> int | None:
    """A descriptor to look at a lock with, or None when there is no lock file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None


def is_held(fd: int) -> bool:
    """True while somebody holds the lock that ``fd`` looks at."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def read_fields(fd: int) -> dict[str, str]:
    """The text of a lock file; what does not parse is left out."""
    text = os.pread(fd, MAX_TEXT, 0).decode(errors="replace")
    pairs = (line.partition(" ") for line in text.splitlines())
    return {key: value for key, space, value in pairs if space}
