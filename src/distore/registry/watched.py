"""Watched: what a small file says, read again when the file has changed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from distore.errors import DistoreError, InvalidArgument, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_INTERVAL: Final = 1.0  # seconds between two looks at a file
_Mark = tuple[int, int, int, int]


class Watched(Generic[T]):
    """``value`` is what ``read`` made of the file; a file that has become bad changes nothing.

    Args:
        read: Of the bytes; its InvalidArgument says what is wrong.
        limit: Bytes that the file may have.
        now: Seconds since the epoch.
        warn: Takes a line about a file that became bad.
    Raises:
        NotFound, InvalidArgument: The file is bad from the start.
    """

    def __init__(
        self,
        path: str,
        read: Callable[[bytes], T],
        *,
        limit: int,
        now: Callable[[], float],
        warn: Callable[[str], None],
    ) -> None:
        self.path = path
        self._read = read
        self._limit = limit
        self._now = now
        self._warn = warn
        self._guard = threading.Lock()
        self._looked = now()
        self._mark, self.value = self._load()

    def due(self) -> bool:
        """Whether it is time to look at the file again."""
        return not 0 <= self._now() - self._looked < _INTERVAL

    def look(self) -> None:
        """Read the file again if it has changed."""
        with self._guard:
            if not self.due():
                return
            self._looked = self._now()
            mark = _mark_at(self.path)
            if mark == self._mark:
                return
            try:
                self._mark, self.value = self._load()
            except DistoreError as error:
                self._mark = mark
                self._warn(f"{error}; what it said before still holds")

    def _load(self) -> tuple[_Mark | None, T]:
        # The mark is older than the bytes: a change in between is seen the next time.
        mark = _mark_at(self.path)
        return mark, self._read(read_small(self.path, limit=self._limit))


def read_small(path: str, *, limit: int) -> bytes:
    """The bytes of a file that may have ``limit`` of them.

    Raises:
        NotFound: There is none.
        InvalidArgument: It cannot be read, or is too large.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno or 0).lower() if isinstance(error, OSError) else str(error)
        raise InvalidArgument(f"{path}: {why}") from error
    if len(data) > limit:
        raise InvalidArgument(f"{path}: more than {limit} bytes")
    return data


def _mark_at(path: str) -> _Mark | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
