"""GroupCommit: changes of many threads in one transaction, so that they wait for the disk together."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from distore.content.local.database import Database

_T = TypeVar("_T")
_MOST: Final = 200  # changes in one transaction


class _Job(Generic[_T]):
    __slots__ = ("action", "awaited", "done", "durable", "error", "result")

    def __init__(
        self, action: Callable[[sqlite3.Connection], _T], *, durable: bool, awaited: bool = True
    ) -> None:
        self.action = action
        self.durable = durable
        self.awaited = awaited
        self.done = False
        self.error: Exception | None = None
        self.result: _T | None = None


class GroupCommit:
    """Whoever comes first does the work of all who came while another one was at it. Thread-safe.

    An action is called within the transaction, in the order of coming, perhaps a second time after the
    first was undone: it changes the database and nothing else.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._waiting: deque[_Job[object]] = deque()
        self._alone: deque[None] = deque()  # one for each that waits and that nobody waits for

    def do(self, action: Callable[[sqlite3.Connection], _T], *, durable: bool = True) -> _T:
        """Return what ``action`` did once that is committed; raise what it raised, and nothing is changed.

        Args:
            durable: Whether it must survive a power cut.
        """
        job = _Job(action, durable=durable)
        self._waiting.append(cast("_Job[object]", job))
        try:
            with self._turn:
                while not job.done:
                    self._work()
        except BaseException:  # an interrupt: nobody would hear what comes of it
            with suppress(ValueError):
                self._waiting.remove(cast("_Job[object]", job))
            raise
        self._work_for_others()
        if job.error is not None:
            raise job.error
        return cast("_T", job.result)

    def soon(self, action: Callable[[sqlite3.Connection], object]) -> None:
        """Do it, not durably, with what is next, and wait for nobody; that it failed nobody is told."""
        job: _Job[object] = _Job(action, durable=False, awaited=False)
        self._alone.append(None)
        self._waiting.append(job)
        self._work_for_others()

    def _work_for_others(self) -> None:
        """Leave nobody behind who relies on the one that had the turn. Who waits does so himself: with him
        here, one would work for all the others for as long as they come."""
        while self._alone and self._turn.acquire(blocking=False):
            try:
                self._work()
            finally:
                self._turn.release()

    def _work(self) -> None:
        jobs: list[_Job[object]] = []
        try:
            while self._waiting and len(jobs) < _MOST:
                jobs.append(self._waiting.popleft())
            self._run(jobs)
        finally:
            for job in reversed(jobs):
                if not job.done:  # an interrupt: the next one whose turn it is does it
                    self._waiting.appendleft(job)
                elif not job.awaited:
                    self._alone.pop()

    def _run(self, jobs: list[_Job[object]]) -> None:
        if not jobs:
            return
        current: _Job[object] | None = None
        try:
            with self._database.transaction(durable=any(job.durable for job in jobs)) as connection:
                for current in jobs:
                    current.result = current.action(connection)
        except Exception as error:  # noqa: BLE001 - whose it is raises it
            if current is not None and len(jobs) > 1:  # one of them failed: each for itself
                for job in jobs:
                    self._run([job])
                return
            for job in jobs:  # it did not begin: nobody waits for that again, one behind the other
                job.error = error
        for job in jobs:
            job.done = True
