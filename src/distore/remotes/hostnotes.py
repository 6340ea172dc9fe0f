"""HostNotes: what is known of hosts, one small file each, changed by one process at a time."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from distore._internal import filelock, fsops
from distore.remotes.spacing import KEPT, MAX_PAUSE, parse, still_good, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.remotes.spacing import Spacing

# Others hold a lock for some 100 us. Whoever does not get it goes without.
_TRIES: Final = 40
_PAUSE: Final = 0.005  # seconds
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class HostNotes:
    """Files below ``folder`` (None: no files). No method raises OSError.

    Args:
        sleep: Waits for seconds while another process holds a file.
    """

    def __init__(self, folder: str | None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._folder = folder
        self._sleep = sleep

    def exists(self, netloc: str) -> bool:
        """Whether there may be a file for it: one look at its name."""
        if self._folder is None:
            return False
        try:
            os.stat(self._path(self._folder, netloc), follow_symlinks=False)
        except OSError:
            return False
        return not os.path.islink(self._folder)

    def change(
        self,
        netloc: str,
        change: Callable[[Spacing | None], Spacing | None],
        *,
        known: Spacing | None,
        now: float,
    ) -> tuple[Spacing | None, bool]:
        """What ``change`` makes of what is known, and whether a file holds it now.

        ``change`` is called once. What is ``known`` in memory counts when it is the later one.
        """
        known = still_good(known, now)
        # Whose files a link leads to is anybody's guess; what is old there would be swept away.
        if self._folder is None or os.path.islink(self._folder):
            return change(known), False
        path = self._path(self._folder, netloc)
        fd = self._locked(path)
        if fd is None:
            new = change(_later(known, self._read_only(path, now)))
            return new, new is not None and self._made(self._folder, path, new, now)
        try:
            found = _read(fd, now)
            new = change(_later(known, found))
            unchanged = new is not None and new == found
            return new, unchanged or _replaced(fd, path, new)
        finally:
            os.close(fd)

    def _locked(self, path: str) -> int | None:
        """The file of a host, open and locked; None: there is none, or it cannot be written."""
        for _ in range(_TRIES):
            try:
                fd = os.open(path, os.O_RDWR | _OPEN)
            except OSError:
                return None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if filelock.is_named(fd, path):
                    return fd
            except BlockingIOError:
                self._sleep(_PAUSE)
            except OSError:
                os.close(fd)
                return None
            os.close(fd)
        return None

    def _read_only(self, path: str, now: float) -> Spacing | None:
        """Of a file that somebody else owns."""
        try:
            fd = os.open(path, os.O_RDONLY | _OPEN)
        except OSError:
            return None
        try:
            return _read(fd, now)
        finally:
            os.close(fd)

    def _made(self, folder: str, path: str, new: Spacing, now: float) -> bool:
        """Begin a file for a host that had none; False: somebody else did, or it cannot be."""
        aside = f"{path}~{os.getpid()}-{threading.get_ident()}"
        try:
            with suppress(FileExistsError):
                fsops.make_directory(folder)
            fsops.put_text(aside, write(new))
            try:
                fsops.link(aside, path)
            finally:
                fsops.unlink(aside)
        except OSError:
            return False
        self._sweep(folder, now)
        return True

    def _sweep(self, folder: str, now: float) -> None:
        """Remove what nobody has looked at for longer than anything can count."""
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < now - MAX_PAUSE - KEPT:
                        fsops.unlink(entry.path)

    @staticmethod
    def _path(folder: str, netloc: str) -> str:
        return os.path.join(folder, quote(netloc.lower(), safe=""))


def _read(fd: int, now: float) -> Spacing | None:
    try:
        return still_good(parse(filelock.read_fields(fd)), now)
    except OSError:
        return None


def _replaced(fd: int, path: str, new: Spacing | None) -> bool:
    """Whether the open file says ``new`` now; without anything to say it goes."""
    try:
        if new is None:
            fsops.unlink(path)
            return True
        text = write(new).encode()
        fsops.write(fd, text, 0)
        fsops.truncate(fd, len(text))
    except OSError:
        return False
    return True


def _later(one: Spacing | None, other: Spacing | None) -> Spacing | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda spacing: (spacing.until, spacing.slot))
