"""Threads that cannot be had, that nobody asked for, and that begin to wait too late."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from distore._internal.pool import gather, map_unordered
from distore.errors import Cancelled, ResourceExhausted

Emit = Callable[[int], None]


def once(emit: Emit) -> None:
    emit(1)


def pool_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("distore-crew", "distore-pool"))]


class LateBrake:
    """Work that begins to wait after the first call and is reached by the second alone."""

    def __init__(self) -> None:
        self.calls = 0
        self._reached = threading.Event()

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == 2:
            self._reached.set()

    def wait(self) -> None:
        self._reached.wait(2)
        raise Cancelled("stopped")


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the system give so many more threads."""

    start = threading.Thread.start

    def allow(number: int) -> None:
        left = [number]

        def begin(thread: threading.Thread) -> None:
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", begin)

    return allow


def test_a_loop_that_waits_for_something_new_is_stopped_again() -> None:
    brake = LateBrake()

    def loop(emit: Emit) -> None:
        emit(1)
        brake.wait()

    results = gather(loop, workers=1, stop=brake)
    next(results)
    results.close()  # type: ignore[attr-defined]  # it is a generator

    assert brake.calls == 2


def test_after_a_failure_the_others_are_stopped_until_they_end() -> None:
    brake = LateBrake()
    taken = iter((True, False))

    def loop(emit: Emit) -> None:
        if next(taken):
            raise ValueError("the first")
        brake.wait()

    with pytest.raises(ValueError, match="the first"):
        list(gather(loop, workers=2, stop=brake))

    assert brake.calls == 2


def test_work_that_waits_for_something_new_is_stopped_again() -> None:
    brake = LateBrake()

    def work(number: int) -> int:
        if number:
            brake.wait()
        return number

    results = map_unordered(work, [0, 1], workers=2, stop=brake)
    next(results)
    results.close()  # type: ignore[attr-defined]  # it is a generator

    assert brake.calls == 2


@pytest.mark.parametrize("workers", [0, -1])
def test_without_workers_there_is_one(workers: int) -> None:
    assert list(map_unordered(str, [1, 2], workers=workers)) == ["1", "2"]
    assert list(gather(once, workers=workers, stop=lambda: None)) == [1]


def test_the_threads_there_are_do_the_work(few_threads: Callable[[int], None]) -> None:
    few_threads(2)

    assert sorted(map_unordered(str, range(1000), workers=4)) == sorted(map(str, range(1000)))

    few_threads(2)

    assert list(gather(once, workers=4, stop=lambda: None)) == [1, 1]
    assert pool_threads() == []


def test_without_a_single_thread_the_error_says_so(few_threads: Callable[[int], None]) -> None:
    few_threads(0)

    with pytest.raises(ResourceExhausted, match="no thread can be started"):
        list(map_unordered(str, [1], workers=4))
    with pytest.raises(ResourceExhausted, match="no thread can be started"):
        list(gather(once, workers=4, stop=lambda: None))
