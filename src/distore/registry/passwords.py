"""Passwords: checks a name and a password, seldom and a few at a time, and remembers who was right."""

from __future__ import annotations

import hmac
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distore.registry.attempts import network_of
from distore.registry.cachememo import Memo

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.attempts import Attempts
    from distore.registry.basic import Credentials

_MOST: Final = 10_000  # names and passwords that are remembered
_QUEUE: Final = 4  # checks that wait, for each that may run
_BUSY: Final = 1  # seconds after which to come again when too many wait


class Accounts(Protocol):
    """Names, and what proves that somebody has one."""

    def proof(self, user: str, /) -> bytes | None:
        """What is kept of a user, another one for another password; None: there is no such user."""
        ...

    def verify(self, user: str, password: str, /) -> bool:
        """Whether it is the password; takes as long for a user that is not there."""
        ...


class Verdict(NamedTuple):
    """``wait``: nothing was looked at; come again after so many seconds."""

    right: bool
    wait: int = 0


class _Running:
    """A check under way."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.verdict = Verdict(right=False, wait=_BUSY)


class Passwords:
    """Safe to use from any thread.

    Args:
        accounts: Those that hold now.
        key: Of this process, random: what is remembered says nothing without it.
        attempts: How many wrong ones are taken.
        lasting: Seconds that a right one is remembered.
        checks: How many run at once; each keeps a core busy.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        accounts: Callable[[], Accounts],
        *,
        key: bytes,
        attempts: Attempts,
        lasting: float,
        checks: int,
        now: Callable[[], float],
    ) -> None:
        self._accounts = accounts
        self._key = key
        self._attempts = attempts
        self._lasting = lasting
        self._now = now
        self._right: Memo[bool] = Memo(_MOST, now=now)
        self._places = threading.Semaphore(checks)
        self._queue = threading.BoundedSemaphore(checks * (1 + _QUEUE))
        self._guard = threading.Lock()
        self._running: dict[bytes, _Running] = {}

    def proof(self, user: str) -> bytes | None:
        """As Accounts."""
        return self._accounts().proof(user)

    def remembers(self, client: str, shown: Credentials) -> bool:
        """Whether they were right a while ago, and nothing has changed since; waits for nothing."""
        return self._right.get(self._mark(client, shown)) is True

    def check(self, client: str, shown: Credentials) -> Verdict:
        """Whether they are right; may take a second."""
        mark = self._mark(client, shown)
        if self._right.get(mark):
            return Verdict(right=True)
        # Twenty requests of one client ask the same at once: the first finds out for all.
        with self._guard:
            running = self._running.get(mark)
            if running is None:
                mine = self._running[mark] = _Running()
        if running is not None:
            running.done.wait()
            return running.verdict
        try:
            if wait := self._attempts.wait(client, shown.user):
                mine.verdict = Verdict(right=False, wait=wait)
            else:
                mine.verdict = self._checked(client, shown, mark)
            return mine.verdict
        finally:
            with self._guard:
                del self._running[mark]
            mine.done.set()

    def _checked(self, client: str, shown: Credentials, mark: bytes) -> Verdict:
        if not self._queue.acquire(blocking=False):
            return Verdict(right=False, wait=_BUSY)
        try:
            with self._places:
                right = self._accounts().verify(shown.user, shown.password)
        finally:
            self._queue.release()
        if not right:
            self._attempts.failed(client, shown.user)
            return Verdict(right=False)
        self._attempts.succeeded(client, shown.user)
        self._right.put(mark, True, until=self._now() + self._lasting)
        return Verdict(right=True)

    def _mark(self, client: str, shown: Credentials) -> bytes:
        """With what is kept of the user in it, so that a new password ends what was remembered; and with
        the client, or all others could find out what was right as fast as they can ask."""
        kept = self._accounts().proof(shown.user) or b""
        parts = (network_of(client).encode(), shown.user.encode(), shown.password.encode(), kept)
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, text, "sha256")
