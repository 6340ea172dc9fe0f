"""Threads: the only place that starts workers. The first error stops all of them."""

from __future__ import annotations

import queue
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from distore.errors import ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

# A worker takes more items at a time while they are quick: one lock for many small ones, and
# still one at a time when each is long.
_MAX_BATCH: Final = 64
_QUICK: Final = 0.01  # seconds a batch may take for the next to be larger
_AHEAD: Final = 256  # results that may wait for the caller
# Whoever looked whether to go on just before ``stop``, and began to wait just after, heard nothing.
_AGAIN: Final = 0.2  # seconds between two calls of it


def map_unordered(
    work: Callable[[T], R | None],
    items: Iterable[T],
    *,
    workers: int,
    stop: Callable[[], None] = lambda: None,
) -> Iterator[R]:
    """Results of ``work`` as they come, None left out; memory does not grow with ``items``.

    ``items`` is advanced under a lock. The first exception of ``work`` or ``items`` stops the
    workers and is raised here; so does closing the iterator, after the items in work are done.

    Args:
        workers: Threads; fewer when the system does not give so many, and one at least.
        stop: Called when it ends early, so that nobody waits long for those items; again and again
            until they are done.
    Raises:
        ResourceExhausted: The system gives no thread at all.
    """
    run = _Run(work, iter(items))
    early = True
    try:
        run.start(workers)
        yield from run.results()
        early = False
    finally:
        run.end(stop if early else None)


class _Run(Generic[T, R]):
    def __init__(self, work: Callable[[T], R | None], items: Iterator[T]) -> None:
        self._work = work
        self._items = items
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        # A result, an error, or None from a worker that found nothing left.
        self._out: queue.Queue[tuple[R] | BaseException | None] = queue.Queue(_AHEAD)
        self._threads: list[threading.Thread] = []

    def start(self, workers: int) -> None:
        _start(self._loop, self._threads, name="distore-pool", workers=workers)

    def results(self) -> Iterator[R]:
        running = len(self._threads)
        while running:
            got = self._out.get()
            if got is None:
                running -= 1
            elif isinstance(got, BaseException):
                raise got
            else:
                yield got[0]

    def end(self, stop: Callable[[], None] | None) -> None:
        self._stopped.set()
        due = time.monotonic()
        while any(thread.is_alive() for thread in self._threads):
            if stop is not None and time.monotonic() >= due:
                due = time.monotonic() + _AGAIN
                stop()
            try:
                self._out.get(timeout=0.05)  # somebody may wait for room
            except queue.Empty:
                continue

    def _take(self, size: int) -> list[T]:
        with self._guard:
            return list(islice(self._items, size))

    def _loop(self) -> None:
        size = 1
        try:
            while not self._stopped.is_set() and (batch := self._take(size)):
                started = time.monotonic()
                for item in batch:
                    if self._stopped.is_set():
                        break
                    result = self._work(item)
                    if result is not None:
                        self._out.put((result,))
                size = min(size * 2, _MAX_BATCH) if time.monotonic() - started < _QUICK else 1
            self._out.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
            self._out.put(error)


def gather(
    loop: Callable[[Callable[[R], None]], None], *, workers: int, stop: Callable[[], None]
) -> Iterator[R]:
    """Run ``loop(emit)`` in each of ``workers`` threads; yield what they emit until all return.

    The first exception of a loop calls ``stop``, which must make the others return or raise soon,
    and is raised here once they have; until then ``stop`` is called again and again. So does closing
    the iterator, or an exception in the thread that reads it, Ctrl-C for one.

    Args:
        workers: Threads; fewer when the system does not give so many, and one at least.
    Raises:
        ResourceExhausted: The system gives no thread at all.
    """
    told: queue.Queue[tuple[R] | BaseException | None] = queue.Queue()

    def one() -> None:
        try:
            loop(lambda item: told.put((item,)))
            told.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
            told.put(error)

    threads: list[threading.Thread] = []
    ended, failure = 0, None
    try:
        _start(one, threads, name="distore-crew", workers=workers)
        while ended < len(threads):
            try:
                got = told.get(timeout=None if failure is None else _AGAIN)
            except queue.Empty:
                stop()
                continue
            if isinstance(got, tuple):
                yield got[0]
                continue
            ended += 1
            if got is not None and failure is None:
                failure = got
                stop()
        if failure is not None:
            raise failure
    finally:
        _join(threads, stop if ended < len(threads) else lambda: None)


def _start(work: Callable[[], None], threads: list[threading.Thread], *, name: str, workers: int) -> None:
    """Add threads that run: one that began is in the list whatever happens next."""
    for number in range(max(1, workers)):
        thread = threading.Thread(target=work, name=f"{name}-{number}", daemon=True)
        threads.append(thread)
        try:
            thread.start()
        except RuntimeError as error:
            threads.remove(thread)
            if not threads:
                raise ResourceExhausted(
                    "no thread can be started; the limit of processes (ulimit -u) may be reached"
                ) from error
            return


def _join(threads: list[threading.Thread], stop: Callable[[], None]) -> None:
    if any(thread.is_alive() for thread in threads):
        stop()
    for thread in threads:
        while thread.is_alive():
            thread.join(_AGAIN)
            if thread.is_alive():
                stop()
