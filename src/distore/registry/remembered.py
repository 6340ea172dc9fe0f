"""Remembered: answers that hold for a while, a bounded number of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values by key, until they end or ``most`` others have been asked for since.

    Safe to use from any thread, and never waits for anything.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, *, most: int, now: Callable[[], float]) -> None:
        self._most = most
        self._now = now
        self._guard = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        """The value, if it still holds."""
        with self._guard:
            found = self._values.get(key)
            if found is None:
                return None
            until, value = found
            if self._now() >= until:
                del self._values[key]
                return None
            self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: T, *, until: float) -> None:
        """Keep a value until a time."""
        with self._guard:
            self._values[key] = (until, value)
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Keep it no more."""
        with self._guard:
            self._values.pop(key, None)

    def __len__(self) -> int:
        return len(self._values)
