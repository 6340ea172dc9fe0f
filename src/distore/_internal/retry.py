"""Trying again: one wrapper over Unavailable, exponential backoff with full jitter."""

from __future__ import annotations

import random as _random
import time
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from distore.errors import DeadlineExceeded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# So much progress since the last failure makes the next one count as the first: a long download
# may be interrupted many times, a peer that drops after every byte may not.
ENOUGH_PROGRESS: Final = 64 * 1024  # bytes
FEW_TRIES: Final = 2
_KEY: Final = "retry_after"
_HOPELESS: Final = "hopeless"


class Policy(NamedTuple):
    """How often and how long. ``attempts`` counts the first one too; times in seconds."""

    attempts: int = 5
    base: float = 0.5  # the longest pause before the second attempt; it doubles from there
    cap: float = 20.0  # no pause is longer, unless the peer asks for it
    longest_wait: float = 120.0  # a peer that asks for more than this is not waited for


class Retrier:
    """Runs calls of one piece of work again while they raise Unavailable.

    Args:
        deadline: The moment on ``clock`` that no pause may reach, or None.
        first_contact: Nothing came from the peer so far: FEW_TRIES are enough when nobody answers.
        on_retry: Told the error, the pause in seconds, and how many attempts are left.
        clock, sleep: Monotonic seconds, and how to wait for some.
        random: A number from 0 up to 1.
    """

    def __init__(
        self,
        policy: Policy = Policy(),  # noqa: B008 - immutable
        *,
        deadline: float | None = None,
        first_contact: bool = False,
        on_retry: Callable[[Unavailable, float, int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._policy = policy
        self._deadline = deadline
        self._first_contact = first_contact
        self._on_retry = on_retry
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._failures = 0
        self._mark = 0

    def run(self, call: Callable[[], T], *, progress: Callable[[], int] = lambda: 0) -> T:
        """What ``call`` returns; failures add up over several runs of the same Retrier.

        Args:
            progress: Bytes of the whole work that are done; ENOUGH_PROGRESS of them since the
                last failure forgive all failures before.
        Raises:
            Unavailable: The last of as many as the policy allows, or one with too long a wait.
            DeadlineExceeded: There is no time left for another attempt.
        """
        while True:
            try:
                return call()
            except Unavailable as error:
                self._pause(error, progress())

    def _pause(self, error: Unavailable, done: int) -> None:
        if done - self._mark >= ENOUGH_PROGRESS:
            self._failures = 0
        self._mark = done
        self._failures += 1
        attempts = self._policy.attempts
        if self._first_contact and is_hopeless(error):
            attempts = min(attempts, FEW_TRIES)
        left = attempts - self._failures
        asked = retry_after(error)
        if left <= 0 or (asked or 0.0) > self._policy.longest_wait:
            raise error
        ceiling = min(self._policy.cap, self._policy.base * 2.0 ** (self._failures - 1))
        # Never before the moment the peer named, and not all clients at that very moment.
        pause = (asked or 0.0) + self._random() * ceiling
        if self._deadline is not None and self._clock() + pause >= self._deadline:
            raise DeadlineExceeded(f"{error}; no time is left to try again") from error
        if self._on_retry is not None:
            self._on_retry(error, pause, left)
        self._sleep(pause)


def with_few_tries(error: Unavailable) -> Unavailable:
    """``error`` itself, marked as one that seldom goes away when nothing ever came from there: nobody
    answers under that name."""
    error.__dict__[_HOPELESS] = True
    return error


def is_hopeless(error: BaseException) -> bool:
    """Whether it was marked by ``with_few_tries``."""
    return _HOPELESS in error.__dict__


def with_retry_after(error: Unavailable, seconds: float | None) -> Unavailable:
    """``error`` itself, remembering how long the peer asks to be left alone."""
    error.__dict__[_KEY] = seconds
    return error


def retry_after(error: BaseException) -> float | None:
    """Seconds that the peer asked for, or None."""
    seconds = error.__dict__.get(_KEY)
    return seconds if isinstance(seconds, float) else None
