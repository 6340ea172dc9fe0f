"""When a transfer stops, and how fast it may be."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.errors import Cancelled
from distore.transfer.pace import Stop, Throttle


class Clock:
    """Seconds that pass while somebody sleeps, or when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


def throttle(rate: int | None, clock: Clock) -> Throttle:
    return Throttle(rate, clock=clock, sleep=clock.sleep)


def test_nobody_is_stopped_until_somebody_says_so() -> None:
    stop = Stop()

    stop.check()
    stop.sleep(0)
    stop.set()

    with pytest.raises(Cancelled, match="what came is kept"):
        stop.check()


def test_whoever_sleeps_wakes_when_it_stops() -> None:
    stop = Stop()
    threading.Timer(0.02, stop.set).start()
    started = time.monotonic()

    with pytest.raises(Cancelled):
        stop.sleep(30)

    assert time.monotonic() - started < 5


@pytest.mark.parametrize("rate", [None, 0])
def test_without_a_rate_nobody_waits(rate: int | None) -> None:
    clock = Clock()

    throttle(rate, clock).take(1 << 40)

    assert clock.naps == []


def test_the_rate_holds_from_the_first_byte() -> None:
    clock = Clock()
    limit = throttle(1000, clock)

    for _ in range(100):
        limit.take(100)

    assert clock.now - 1000.0 == pytest.approx(10.0, abs=0.11)


def test_time_that_was_not_used_is_not_saved_up() -> None:
    clock = Clock()
    limit = throttle(1000, clock)
    limit.take(1000)
    clock.now += 3600

    started = clock.now
    limit.take(2000)

    assert clock.now - started == pytest.approx(2.0, abs=0.11)


@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(0, 50_000), st.floats(0, 10)), min_size=1, max_size=30),
)
def test_no_sequence_is_faster_than_the_rate(rate: int, takes: list[tuple[int, float]]) -> None:
    clock = Clock()
    limit = throttle(rate, clock)
    taken = 0

    for size, idle in takes:
        clock.now += idle
        limit.take(size)
        taken += size
        assert taken <= rate * (clock.now - 1000.0 + 0.1) + 1


def test_threads_share_the_rate() -> None:
    guard, naps = threading.Lock(), []

    def sleep(seconds: float) -> None:
        with guard:
            naps.append(seconds)

    limit = Throttle(1000, clock=lambda: 1000.0, sleep=sleep)
    threads = [threading.Thread(target=limit.take, args=(100,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Each has its own place in the row; the first may go at once.
    assert sorted(naps) == pytest.approx([0.1 * n for n in range(1, 20)])
