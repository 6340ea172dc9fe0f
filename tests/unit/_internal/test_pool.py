"""Threads: results as they come, the first error, and an end that nobody waits for in vain."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from types import SimpleNamespace

import pytest

from distore._internal.pool import gather, map_unordered
from distore.errors import Cancelled, InvalidArgument, Unavailable

Emit = Callable[[int], None]


class Brake:
    """A ``stop`` that work can wait for."""

    def __init__(self) -> None:
        self.pulled = threading.Event()
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        self.pulled.set()

    def wait(self) -> None:
        """As a worker does: until the end."""
        assert self.pulled.wait(10)
        raise Cancelled("stopped")


@pytest.fixture
def brake() -> Iterator[Brake]:
    made = Brake()
    yield made
    made.pulled.set()


def crew() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("distore-crew", "distore-pool"))]


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    assert crew() == []


def test_what_one_loop_emits_comes_in_its_order(brake: Brake) -> None:
    def loop(emit: Emit) -> None:
        for number in range(1000):
            emit(number)

    assert list(gather(loop, workers=1, stop=brake)) == list(range(1000))
    assert brake.calls == 0


def test_each_loop_s_own_order_is_kept_among_the_others(brake: Brake) -> None:
    numbers = count()

    def loop(emit: Emit) -> None:
        first = next(numbers) * 1000
        for number in range(100):
            emit(first + number)

    found = list(gather(loop, workers=4, stop=brake))

    assert len(found) == 400
    for first in range(0, 4000, 1000):
        assert [n for n in found if first <= n < first + 1000] == list(range(first, first + 100))


def test_what_was_emitted_before_a_failure_comes_before_it(brake: Brake) -> None:
    def loop(emit: Emit) -> None:
        emit(1)
        raise InvalidArgument("no")

    events = gather(loop, workers=1, stop=brake)

    assert next(events) == 1
    with pytest.raises(InvalidArgument):
        next(events)
    assert brake.calls == 1


def test_the_first_failure_stops_the_others_and_wins_over_their_own(brake: Brake) -> None:
    turn = count()

    def loop(emit: Emit) -> None:
        if next(turn) == 2:
            raise Unavailable("the cause")
        brake.wait()

    with pytest.raises(Unavailable, match="the cause"):
        list(gather(loop, workers=4, stop=brake))

    assert brake.calls == 1


def test_a_failure_that_nobody_foresaw_is_raised_as_it_is(brake: Brake) -> None:
    def loop(emit: Emit) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        list(gather(loop, workers=2, stop=brake))


def test_closing_early_stops_all_and_waits_for_them(brake: Brake) -> None:
    def loop(emit: Emit) -> None:
        emit(1)
        brake.wait()

    events = gather(loop, workers=3, stop=brake)
    next(events)
    events.close()  # type: ignore[attr-defined]  # it is a generator

    assert brake.calls == 1
    assert crew() == []


def test_ctrl_c_in_the_thread_that_reads_stops_all(brake: Brake) -> None:
    def loop(emit: Emit) -> None:
        emit(1)
        brake.wait()

    def read() -> None:
        for _ in gather(loop, workers=3, stop=brake):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read()

    assert brake.calls == 1


def test_ctrl_c_while_it_waits_for_an_event_stops_all(brake: Brake, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(queue.Queue[object]):
        def get(self, block: bool = True, timeout: float | None = None) -> object:
            raise KeyboardInterrupt

    monkeypatch.setattr("distore._internal.pool.queue", SimpleNamespace(Queue=Interrupted, Empty=queue.Empty))

    with pytest.raises(KeyboardInterrupt):
        list(gather(lambda emit: brake.wait(), workers=2, stop=brake))

    assert brake.calls == 1


@pytest.mark.parametrize("workers", [1, 5])
def test_results_of_all_items_come_whatever_their_order(workers: int) -> None:
    found = map_unordered(lambda n: n * 2 if n % 2 else None, range(500), workers=workers)

    assert sorted(found) == [n * 2 for n in range(500) if n % 2]


def test_the_first_failure_of_the_work_ends_it() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        if number == 10:
            raise InvalidArgument("ten")
        done.append(number)
        return number

    with pytest.raises(InvalidArgument, match="ten"):
        list(map_unordered(work, count(), workers=2))


def test_a_failure_of_the_items_ends_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise Unavailable("no more")

    with pytest.raises(Unavailable, match="no more"):
        list(map_unordered(lambda n: n, items(), workers=2))


def test_no_more_is_taken_than_somebody_wants() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    results = map_unordered(lambda n: n, items(), workers=2)
    next(results)
    results.close()  # type: ignore[attr-defined]  # it is a generator

    assert len(taken) < 1000


def test_whoever_leaves_early_breaks_off_work_that_would_wait(brake: Brake) -> None:
    def work(number: int) -> int:
        if number:
            with suppress(Cancelled):
                brake.wait()
        return number

    started = time.monotonic()
    results = map_unordered(work, range(4), workers=4, stop=brake)
    next(results)
    results.close()  # type: ignore[attr-defined]  # it is a generator

    assert brake.calls == 1
    assert time.monotonic() - started < 5


def test_nobody_is_stopped_when_all_is_done(brake: Brake) -> None:
    assert sorted(map_unordered(lambda n: n, range(4), workers=2, stop=brake)) == [0, 1, 2, 3]
    assert brake.calls == 0
