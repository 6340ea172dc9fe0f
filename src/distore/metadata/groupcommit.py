"""GroupCommit: changes of many threads in one transaction, so that they wait for the disk together."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from distore.content.local.database import Database

_T = TypeVar("_T")
_MOST: Final = 200  # changes in one transaction


class _Job(Generic[_T]):
    __slots__ = ("action", "done", "durable", "error", "result")

    def __init__(self, action: Callable[[sqlite3.Connection], _T], *, durable: bool) -> None:
        self.action = action
        self.durable = durable
        self.done = False
        self.error: BaseException | None = None
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

    def do(self, action: Callable[[sqlite3.Connection], _T], *, durable: bool = True) -> _T:
        """Return what ``action`` did once that is committed; raise what it raised, and nothing is changed.

        Args:
            durable: Whether it must survive a power cut.
        """
        job = _Job(action, durable=durable)
        self._waiting.append(cast("_Job[object]", job))
        with self._turn:
            while not job.done:
                self._work()
        self._work_for_others()
        if job.error is not None:
            raise job.error
        return cast("_T", job.result)

    def soon(self, action: Callable[[sqlite3.Connection], object]) -> None:
        """Do it, not durably, with what is next, and wait for nobody; that it failed nobody is told."""
        self._waiting.append(_Job(action, durable=False))
        self._work_for_others()

    def _work_for_others(self) -> None:
        """Leave nobody behind: who found the turn taken relies on the one that had it."""
        while self._waiting and self._turn.acquire(blocking=False):
            try:
                self._work()
            finally:
                self._turn.release()

    def _work(self) -> None:
        jobs: list[_Job[object]] = []
        while self._waiting and len(jobs) < _MOST:
            jobs.append(self._waiting.popleft())
        if jobs:
            self._run(jobs)

    def _run(self, jobs: list[_Job[object]]) -> None:
        try:
            with self._database.transaction(durable=any(job.durable for job in jobs)) as connection:
                for job in jobs:
                    job.result = job.action(connection)
        except BaseException as error:  # noqa: BLE001 - whose it is raises it
            if len(jobs) > 1:  # one of them failed: each for itself
                for job in jobs:
                    self._run([job])
                return
            jobs[0].error = error
        for job in jobs:
            job.done = True
