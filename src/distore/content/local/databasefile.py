"""The file ``dist.db``: what its header says, who has it open, and the gate before it."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.content.local.schema import APPLICATION_ID, SCHEMA_VERSION
from distore.errors import FailedPrecondition, Unavailable, UnsupportedStore

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = b"SQLite format 3\0"
_HEADER_SIZE: Final = 100
# Bytes that SQLite locks, shared, as long as a connection in WAL mode lives (sqlite.org/fileformat2.html,
# "The Lock-Byte Page"; os.h: SHARED_FIRST, SHARED_SIZE).
_SHARED_FIRST: Final = 0x40000002
_SHARED_SIZE: Final = 510

# The one place with module state, because what it mends belongs to the process: closing any
# descriptor of a file drops all POSIX locks that the process has on it, those of SQLite too, and
# then another process, which thinks it is alone, removes the log that is still written to.
_GUARD: Final = threading.Lock()
_OPENED: Final[dict[tuple[int, int], int]] = {}


class Header(NamedTuple):
    """``is_sqlite``: whether it begins as one at all; the numbers mean nothing otherwise."""

    is_sqlite: bool
    version: int
    application: int

    @property
    def is_newer(self) -> bool:
        """Whether it is ours, of a format to come."""
        return self.is_sqlite and self.application == APPLICATION_ID and self.version > SCHEMA_VERSION

    @property
    def is_foreign(self) -> bool:
        """Whether another program has made it."""
        return self.is_sqlite and bool(self.version) and self.application != APPLICATION_ID


def check_version(path: str) -> None:
    """Refuse a database that is not ours or is newer, from its header alone.

    Raises:
        UnsupportedStore: Made by a newer version.
        FailedPrecondition: Not a database of distore.
    """
    header = header_of(path)
    if header is None:
        return
    if not header.is_sqlite:
        raise FailedPrecondition(
            f"store database {path}: not an SQLite file; dist db rebuild makes a new one of what blobs tell"
        )
    if header.is_foreign:
        raise FailedPrecondition(
            f"store database {path}: belongs to another program; dist db rebuild --force puts it aside"
            " and makes a new one of what blobs tell"
        )
    if header.version > SCHEMA_VERSION:
        raise UnsupportedStore(
            f"store database {path}: made by a newer version of distore (format {header.version},"
            f" this one knows {SCHEMA_VERSION}); upgrade distore"
        )


def header_of(path: str) -> Header | None:
    """What the file says about itself; None when there is none, when it is empty (made by a process
    that has not written its first page yet), and when this process has it open, who then knew it."""
    with _GUARD:
        try:
            there = os.stat(path)
            if (there.st_dev, there.st_ino) in _OPENED:
                return None
            if stat.S_ISFIFO(there.st_mode):  # to open it would wait for ever
                return Header(is_sqlite=False, version=0, application=0)
            with open(path, "rb") as file:
                data = file.read(_HEADER_SIZE)
        except FileNotFoundError:
            return None
    if not data:
        return None
    version, application = (int.from_bytes(data[at : at + 4], "big") for at in (60, 68))
    return Header(data.startswith(MAGIC) and len(data) == _HEADER_SIZE, version, application)


@contextmanager
def gate(path: str, *, exclusive: bool = False) -> Iterator[None]:
    """Within the block ``path`` stays the file that it is, unless one is alone to make or replace it.

    It is the lock of the folder, and waits: whoever opens the database passes it, so that nobody
    opens one file beside the log of another. A connection that is open needs it no more.
    """
    try:
        fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # a folder that may be searched and not read: nobody else makes it there either
        yield
        return
    try:
        _lock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, how: int) -> None:
    try:
        fcntl.flock(fd, how)
    except OSError:  # a file system that locks no folders; SQLite's own locks are all there is then
        return


class Use:
    """That this process has the file open; to be said before SQLite opens it, taken back after."""

    def __init__(self, path: str) -> None:
        there = os.stat(path)
        self._key: tuple[int, int] | None = (there.st_dev, there.st_ino)
        with _GUARD:
            _OPENED[self._key] = _OPENED.get(self._key, 0) + 1

    def end(self) -> None:
        """Take it back; twice is once."""
        with _GUARD:
            if self._key is None:
                return
            _OPENED[self._key] -= 1
            if not _OPENED[self._key]:
                del _OPENED[self._key]
            self._key = None


def refuse_used(path: str) -> None:
    """Make sure that nobody has the database open; nobody opens it within an exclusive ``gate``.

    Raises:
        Unavailable: Somebody has; names the process where the system tells.
    """
    with _GUARD:
        try:
            there = os.stat(path)
        except FileNotFoundError:
            return
        if (there.st_dev, there.st_ino) in _OPENED:
            raise _used(path, os.getpid())
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
        except OSError as error:
            raise _used(path, _holder(there.st_ino)) from error
        finally:
            os.close(fd)


def _used(path: str, pid: int | None) -> Unavailable:
    who = "another process" if pid is None else f"process {pid}"
    return Unavailable(f"store database {path}: {who} has it open; try again when that has ended")


def _holder(inode: int) -> int | None:
    """The process that locks a file, as far as the kernel tells."""
    try:
        with open("/proc/locks") as file:
            lines = [line.split() for line in file]
    except OSError:
        return None
    found = (line[4] for line in lines if len(line) > 5 and line[5].endswith(f":{inode}"))
    pid = next((text for text in found if text.isdecimal()), None)
    return int(pid) if pid else None
