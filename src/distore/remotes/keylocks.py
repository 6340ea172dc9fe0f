"""KeyLocks: one lock for each key, so that only those wait who want the same thing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")


class KeyLocks(Generic[K]):
    """Locks are kept for as long as this object: use it for keys that are few."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[K, threading.Lock] = {}

    def of(self, key: K) -> threading.Lock:
        """The lock of ``key``, the same one every time."""
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())
