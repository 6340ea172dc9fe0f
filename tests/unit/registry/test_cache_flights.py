"""Work that many wait for, and what is remembered of it."""

from __future__ import annotations

import threading

import pytest
from tests.unit.registry.cachekit import Clock

from distore.errors import NotFound, Unavailable
from distore.registry.cacheflights import Flights
from distore.registry.cachememo import Memo


def test_many_who_want_the_same_share_one_flight() -> None:
    flights, gate, runs = Flights(4, name="test"), threading.Event(), []

    def work() -> int:
        runs.append(1)
        gate.wait()
        return 7

    started = [flights.start("lane", "key", work) for _ in range(5)]
    gate.set()

    assert [flight.result() for flight in started] == [7] * 5
    assert runs == [1]
    flights.settle()
    assert flights.wait("lane", "key", lambda: 8, seconds=10) == 8
    flights.close(lambda: None)


def test_what_a_flight_raises_reaches_everybody() -> None:
    flights = Flights(1, name="test")

    def work() -> None:
        raise NotFound("not there")

    with pytest.raises(NotFound):
        flights.wait("lane", "key", work, seconds=10)
    flights.close(lambda: None)


def test_who_waits_too_long_goes_and_the_flight_goes_on() -> None:
    flights, gate, done = Flights(1, name="test"), threading.Event(), threading.Event()

    def work() -> None:
        gate.wait()
        done.set()

    with pytest.raises(Unavailable, match="no answer within"):
        flights.wait("lane", "key", work, seconds=0.01)
    gate.set()

    assert done.wait(10)
    flights.close(lambda: None)


def test_who_asks_after_a_flight_has_landed_gets_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tidying, runs = threading.Event(), iter((1, 2))
    monkeypatch.setattr(Flights, "_ended", lambda *_words: tidying.wait(10))
    flights = Flights(2, name="test")

    told = [flights.wait("lane", "key", lambda: next(runs), seconds=10) for _ in range(2)]

    assert told == [1, 2]
    tidying.set()
    flights.close(lambda: None)


def test_a_lane_that_is_full_holds_up_no_other_one() -> None:
    flights, gate = Flights(1, name="test"), threading.Event()
    flights.start("slow", 1, gate.wait)
    flights.start("slow", 2, gate.wait)

    assert flights.wait("quick", 3, lambda: 3, seconds=10) == 3
    flights.close(gate.set)


def test_the_end_breaks_off_what_is_under_way_and_takes_nothing_new() -> None:
    flights, gate = Flights(1, name="test"), threading.Event()
    running, waiting = (flights.start("lane", number, gate.wait) for number in (1, 2))

    flights.close(gate.set)

    assert running.result() is True
    assert waiting.cancelled()
    with pytest.raises(Unavailable, match="about to end"):
        flights.wait("lane", 4, lambda: 4, seconds=1)


def test_a_memo_holds_for_its_time_and_the_oldest_gives_way() -> None:
    clock = Clock(now=100.0)
    memo: Memo[int] = Memo(2, now=clock)
    memo.put("a", 1, until=110.0)
    memo.put("b", 2, until=120.0)
    both = memo.get("a"), memo.get("b")
    clock.now = 110.0
    later = memo.get("a"), memo.get("b")
    memo.put("c", 3, until=130.0)
    memo.put("d", 4, until=130.0)
    memo.drop("d")

    assert (both, later) == ((1, 2), (None, 2))
    assert (memo.get("b"), memo.get("c"), memo.get("d")) == (None, 3, None)


def test_a_clock_that_is_set_back_makes_nothing_last_longer() -> None:
    clock = Clock(now=1_000_000.0)
    memo: Memo[int] = Memo(2, now=clock)
    memo.put("a", 1, until=1_000_030.0)

    clock.now -= 86400

    assert memo.get("a") is None
