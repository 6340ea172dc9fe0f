"""Pulls: who got what when, written down now and then and not with every request."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError
from distore.repositories import Pull

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.oci.digest import Digest
    from distore.repositories import Repositories

INTERVAL: Final = 60.0  # seconds
Got = tuple[str, "Digest", str | None]  # repository, manifest, and the tag it was got by
_MAX: Final = 10_000  # pulls remembered; more are written down at once, or lost when that fails


class Pulls:
    """Thread-safe. ``note`` waits for nothing.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, repositories: Repositories, now: Callable[[], float]) -> None:
        self._repositories = repositories
        self._now = now
        self._guard = threading.Lock()
        self._noted: dict[Got, float] = {}
        self._written = now()

    def note(self, got: Got) -> None:
        """Somebody gets a manifest now."""
        with self._guard:
            if len(self._noted) < _MAX:
                self._noted[got] = self._now()

    def flush(self, *, force: bool = True) -> None:
        """Write down what was noted; without ``force`` only if that was not done for a while."""
        moment = self._now()
        with self._guard:
            due = moment - self._written >= INTERVAL or len(self._noted) >= _MAX
            if not self._noted or not (force or due):
                return
            noted, self._noted, self._written = self._noted, {}, moment
        pulls = [
            Pull(repository=repository, digest=digest, tag=tag, when=when)
            for (repository, digest, tag), when in noted.items()
        ]
        try:
            self._repositories.note_pulled(pulls)
        except DistoreError:  # a busy or full disk; when somebody pulled last is worth no refusal
            with self._guard:
                self._noted = {**noted, **self._noted}
