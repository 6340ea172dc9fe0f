"""Threads: the only place that starts workers. The first error stops all of them."""

from __future__ import annotations

import queue
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

# A worker takes more items at a time while they are quick: one lock for many small ones, and
# still one at a time when each is long.
_MAX_BATCH: Final = 64
_QUICK: Final = 0.01  # seconds a batch may take for the next to be larger
_AHEAD: Final = 256  # results that may wait for the caller


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
        stop: Called when it ends early, so that nobody waits long for those items.
    """
    run = _Run(work, iter(items), workers)
    try:
        yield from run.results()
    except BaseException:
        stop()
        raise
    finally:
        run.stop()


class _Run(Generic[T, R]):
    def __init__(self, work: Callable[[T], R | None], items: Iterator[T], workers: int) -> None:
        self._work = work
        self._items = items
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        # A result, an error, or None from a worker that found nothing left.
        self._out: queue.Queue[tuple[R] | BaseException | None] = queue.Queue(_AHEAD)
        self._threads = [
            threading.Thread(target=self._loop, name=f"distore-pool-{n}", daemon=True) for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

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

    def stop(self) -> None:
        self._stopped.set()
        while any(thread.is_alive() for thread in self._threads):
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
    and is raised here once they have. So does closing the iterator, or an exception in the thread
    that reads it, Ctrl-C for one.
    """
    told: queue.Queue[tuple[R] | BaseException | None] = queue.Queue()

    def one() -> None:
        try:
            loop(lambda item: told.put((item,)))
            told.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
            told.put(error)

    threads = [threading.Thread(target=one, name=f"distore-crew-{n}", daemon=True) for n in range(workers)]
    for thread in threads:
        thread.start()
    running, failure = workers, None
    try:
        while running:
            got = told.get()
            if isinstance(got, tuple):
                yield got[0]
                continue
            running -= 1
            if got is not None and failure is None:
                failure = got
                stop()
        if failure is not None:
            raise failure
    finally:
        if running:
            stop()
        for thread in threads:
            thread.join()
