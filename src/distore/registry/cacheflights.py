"""Flights: work that many wait for is done once, in a thread that outlives whoever asked first."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from distore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")
_AGAIN: Final = 0.1  # seconds between two calls of ``abort``


class Flights:
    """One flight for each key at a time. Safe to use from any thread.

    Flights wait for those of their lane alone: an upstream that is slow holds up no other one.

    Args:
        workers: Flights of a lane at once; the others wait for their turn.
    """

    def __init__(self, workers: int, *, name: str) -> None:
        self._workers = workers
        self._name = name
        self._closed = False
        self._pools: dict[Hashable, ThreadPoolExecutor] = {}
        self._guard = threading.Lock()
        self._open: dict[Hashable, Future[Any]] = {}

    def start(self, lane: Hashable, key: Hashable, work: Callable[[], T]) -> Future[T]:
        """The flight of that key that is under way, or else a new one that does ``work``.

        Raises:
            Unavailable: It was closed.
        """
        with self._guard:
            flight = self._open.get(key)
            if flight is not None:
                return cast("Future[T]", flight)
            if self._closed:
                raise Unavailable("the registry is about to end")
            if lane not in self._pools:
                self._pools[lane] = ThreadPoolExecutor(self._workers, thread_name_prefix=self._name)
            flight = self._open[key] = self._pools[lane].submit(self._fly, key, work)
        flight.add_done_callback(lambda over: self._ended(key, over))  # one that never began, too
        return flight

    def wait(self, lane: Hashable, key: Hashable, work: Callable[[], T], *, seconds: float) -> T:
        """What the flight of that key gives, or raises.

        Raises:
            Unavailable: It takes longer, and goes on.
        """
        flight = self.start(lane, key, work)
        try:
            return flight.result(seconds)
        except TimeoutError as error:
            if flight.done():
                raise
            raise Unavailable(f"no answer within {seconds:g} s") from error
        except CancelledError as error:
            raise Unavailable("the registry is about to end") from error

    def settle(self) -> None:
        """Wait for all that are under way."""
        with self._guard:
            flights = list(self._open.values())
        wait(flights)

    def close(self, abort: Callable[[], None]) -> None:
        """End all flights.

        Args:
            abort: Breaks off what they wait for; called until they have ended.
        """
        with self._guard:
            self._closed = True
            pools = list(self._pools.values())
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        while True:
            with self._guard:
                left = list(self._open.values())
            if not wait(left, timeout=0).not_done:
                return
            abort()
            wait(left, timeout=_AGAIN)

    def _fly(self, key: Hashable, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:  # before anybody hears of it: who asks after that must not be told what was before
            with self._guard:
                del self._open[key]

    def _ended(self, key: Hashable, flight: Future[Any]) -> None:
        with self._guard:
            if self._open.get(key) is flight:
                del self._open[key]
