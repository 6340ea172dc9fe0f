"""Health: which hosts failed lately, so that a dead mirror costs one time-out and not one a layer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distore.remotes.http.hosts import Host

REST: Final = 60.0  # seconds for which a host that failed is not asked while another answers


class Health:
    """Safe to share between threads.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._until: dict[str, float] = {}  # by netloc

    def ill(self, netloc: str) -> None:
        """It failed in a way that says nothing of the object asked for."""
        with self._guard:
            self._until[netloc] = self._clock() + REST

    def well(self, netloc: str) -> None:
        """It answered."""
        if netloc in self._until:
            with self._guard:
                self._until.pop(netloc, None)

    def sorted(self, hosts: Sequence[Host]) -> tuple[list[Host], list[Host]]:
        """Those to ask, and those to ask only when all of the first fail; each in its order."""
        now = self._clock()
        with self._guard:
            resting = {netloc for netloc, until in self._until.items() if now < until}
        good = [host for host in hosts if host.netloc not in resting]
        return (good, [host for host in hosts if host.netloc in resting]) if good else (list(hosts), [])
