"""Memo: what is true for a while, and not for ever; the oldest gives way."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

V = TypeVar("V")


class Memo(Generic[V]):
    """Values by key until a moment each; safe to use from any thread, and waits for nothing.

    Args:
        most: Entries kept.
        now: Seconds.
    """

    def __init__(self, most: int, *, now: Callable[[], float]) -> None:
        self._most = most
        self._now = now
        self._guard = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, float, V]] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        """What was put, if its time is not over."""
        found = self._kept.get(key)
        # A clock that was set back makes nothing last longer.
        return found[2] if found is not None and found[0] <= self._now() < found[1] else None

    def put(self, key: Hashable, value: V, *, until: float) -> None:
        """Remember ``value`` until then."""
        with self._guard:
            self._kept[key] = (self._now(), until, value)
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        """Forget it."""
        with self._guard:
            self._kept.pop(key, None)
