"""Readers: connections that read beside whoever writes, without waiting for his disk."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from distore.content.local.databasefile import Use

_KEPT: Final = 16  # connections that wait for the next who asks
_GENERATION: Final = 32  # bits of a version that count changes


class Reader(NamedTuple):
    """A connection, and that this process has the file open for it."""

    connection: sqlite3.Connection
    use: Use

    def close(self) -> None:
        """Close it; the use ends behind it."""
        try:
            self.connection.close()
        finally:
            self.use.end()


class Readers:
    """As many connections as there are reads at one time; the last one used, whose pages are known, goes
    first to the next. Thread-safe.

    Args:
        opened: Opens one; None while there is no database.
    """

    def __init__(self, opened: Callable[[], Reader | None]) -> None:
        self._opened = opened
        self._idle: list[Reader] = []  # appending and popping are one step each
        self._guard = threading.Lock()
        self._watch: Reader | None = None
        self._generation = 0

    def query(self, statement: str, arguments: tuple[object, ...]) -> list[tuple[object, ...]]:
        """All rows as of the last transaction that ended; none while there is no database."""
        idle = self._idle
        try:
            reader: Reader | None = idle.pop()
        except IndexError:
            reader = self._opened()
        if reader is None:
            return []
        try:
            rows = reader.connection.execute(statement, arguments).fetchall()
        except BaseException:
            reader.close()
            raise
        if len(idle) < _KEPT and idle is self._idle:
            idle.append(reader)
        else:
            reader.close()
        return rows

    def version(self) -> int:
        """Another number after any change by anybody; 0 while there is no database."""
        with self._guard:
            if self._watch is None:
                self._watch = self._opened()
                if self._watch is None:
                    return 0
                self._generation += 1  # each connection counts for itself, from wherever it likes
            row = self._watch.connection.execute("PRAGMA data_version").fetchone()
            return (self._generation << _GENERATION) + int(row[0])

    def close(self) -> None:
        """Close those that nobody uses; the others close behind their reads."""
        with self._guard:
            idle, self._idle = self._idle, []
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        while True:
            try:
                idle.pop().close()
            except IndexError:
                return
