"""Trying again: how often, how long between, and when not at all."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NoReturn

import pytest

from distore._internal.retry import ENOUGH_PROGRESS, Policy, Retrier, retry_after, with_retry_after
from distore.errors import DeadlineExceeded, NotFound, Unavailable

POLICY = Policy(attempts=4, base=1.0, cap=3.0, longest_wait=60.0)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, *, random: float = 1.0, deadline: float | None = None) -> Retrier:
    return Retrier(
        POLICY, deadline=deadline, clock=lambda: clock.now, sleep=clock.sleep, random=lambda: random
    )


def failing(times: int, *, asked: float | None = None) -> Callable[[], str]:
    count = itertools.count()

    def call() -> str:
        if next(count) < times:
            raise with_retry_after(Unavailable("host: down"), asked)
        return "done"

    return call


def test_a_call_that_works_is_made_once(clock: Clock) -> None:
    assert make(clock).run(failing(0)) == "done"

    assert clock.naps == []


def test_the_longest_pause_doubles_up_to_the_cap(clock: Clock) -> None:
    assert make(clock).run(failing(3)) == "done"

    assert clock.naps == [1.0, 2.0, 3.0]


def test_a_pause_is_anything_between_none_and_the_longest(clock: Clock) -> None:
    make(clock, random=0.25).run(failing(3))

    assert clock.naps == [0.25, 0.5, 0.75]


def test_the_last_error_comes_out_when_the_attempts_are_used_up(clock: Clock) -> None:
    with pytest.raises(Unavailable, match="host: down"):
        make(clock).run(failing(4))

    assert len(clock.naps) == 3


def test_failures_of_several_runs_add_up(clock: Clock) -> None:
    retrier = make(clock)
    retrier.run(failing(2))

    with pytest.raises(Unavailable):
        retrier.run(failing(2))


def test_enough_progress_forgives_the_failures_before(clock: Clock) -> None:
    done = itertools.count(0, ENOUGH_PROGRESS)

    assert make(clock).run(failing(20), progress=lambda: next(done)) == "done"

    assert set(clock.naps[1:]) == {1.0}


def test_a_peer_that_gives_a_few_bytes_and_drops_is_given_up(clock: Clock) -> None:
    done = itertools.count(0, ENOUGH_PROGRESS - 1)

    with pytest.raises(Unavailable):
        make(clock).run(failing(20), progress=lambda: next(done))


def test_nobody_comes_back_before_the_moment_the_peer_named(clock: Clock) -> None:
    make(clock, random=0.5).run(failing(2, asked=30.0))

    assert clock.naps == [30.5, 31.0]


def test_a_peer_that_asks_for_too_long_a_wait_is_not_waited_for(clock: Clock) -> None:
    with pytest.raises(Unavailable) as caught:
        make(clock).run(failing(1, asked=61.0))

    assert clock.naps == []
    assert retry_after(caught.value) == 61.0


def test_no_pause_reaches_past_the_deadline(clock: Clock) -> None:
    with pytest.raises(DeadlineExceeded, match=r"host: down; no time is left") as caught:
        make(clock, deadline=2.5).run(failing(3))

    assert clock.naps == [1.0]
    assert isinstance(caught.value.__cause__, Unavailable)


def test_other_errors_are_not_tried_again(clock: Clock) -> None:
    def call() -> NoReturn:
        raise NotFound("blob: not there")

    with pytest.raises(NotFound):
        make(clock).run(call)

    assert clock.naps == []


def test_whoever_wants_to_know_hears_of_each_pause(clock: Clock) -> None:
    heard: list[tuple[str, float, int]] = []
    retrier = Retrier(
        POLICY,
        on_retry=lambda error, pause, left: heard.append((str(error), pause, left)),
        clock=lambda: clock.now,
        sleep=clock.sleep,
        random=lambda: 1.0,
    )

    retrier.run(failing(2))

    assert heard == [("host: down", 1.0, 3), ("host: down", 2.0, 2)]


def test_an_error_nobody_marked_asks_for_no_wait() -> None:
    assert retry_after(Unavailable("host: down")) is None
    assert retry_after(ValueError("other")) is None
