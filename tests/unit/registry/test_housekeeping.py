"""Housekeeping: rounds, turns, failures, haste."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from distore.errors import DistoreError, Unavailable
from distore.registry.housekeeping import HASTE, Housekeeper, Step


class World:
    """Steps that note what runs."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.said: list[str] = []
        self.within: list[float] = []
        self.turns = [True]
        self.happened = threading.Condition()

    @contextmanager
    def turn(self, within: float) -> Iterator[bool]:
        self.within.append(within)
        yield self.turns[-1] if len(self.turns) == 1 else self.turns.pop(0)

    def step(self, name: str, came: str = "", error: Exception | None = None) -> Step:
        def run() -> str:
            with self.happened:
                self.ran.append(name)
                self.happened.notify_all()
            if error is not None:
                raise error
            return came

        return Step(name, run)

    def keeper(self, *steps: Step, interval: float = 0.0) -> Housekeeper:
        return Housekeeper(
            steps, interval=interval, turn=self.turn, tell=self.said.append, monotonic=time.monotonic
        )

    def await_runs(self, number: int) -> None:
        with self.happened:
            assert self.happened.wait_for(lambda: len(self.ran) >= number, timeout=10)


@pytest.fixture
def world() -> World:
    return World()


def test_a_round_runs_every_step_and_tells_what_came_of_it(world: World) -> None:
    keeper = world.keeper(world.step("one", "removed 1 tag"), world.step("two"))

    assert keeper.round()

    assert world.ran == ["one", "two"]
    assert world.said == ["housekeeping: one: removed 1 tag"]
    assert keeper.counts.rounds == 1


@pytest.mark.parametrize("error", [Unavailable("another collector runs"), RuntimeError("a bug")])
def test_a_step_that_fails_is_one_line_and_the_others_run(world: World, error: Exception) -> None:
    keeper = world.keeper(world.step("one", error=error), world.step("two", "done"))

    assert keeper.round()

    said = str(error) if isinstance(error, DistoreError) else repr(error)
    assert world.said == [f"housekeeping: one failed: {said}", "housekeeping: two: done"]
    assert keeper.counts.failures == 1


def test_a_round_that_is_somebody_elses_does_nothing(world: World) -> None:
    world.turns = [False]

    assert not world.keeper(world.step("one")).round(within=60)

    assert world.ran == []
    assert world.within == [60]


def test_it_runs_by_itself_after_the_interval(world: World) -> None:
    keeper = world.keeper(world.step("one"), interval=0.01)

    keeper.start()
    world.await_runs(3)
    keeper.close()

    assert world.within[0] == pytest.approx(0.009)


def test_need_wakes_it_and_haste_has_a_limit(world: World) -> None:
    keeper = world.keeper(world.step("one"))
    keeper.start()

    keeper.wake()
    world.await_runs(1)
    for _ in range(1000):
        keeper.wake()
    keeper.close()

    assert world.ran == ["one"]
    assert world.within == [HASTE / 2]
    assert world.said == ["the disk is full: pushes are refused until there is room; pulls go on"]


def test_it_ends_without_having_run(world: World) -> None:
    keeper = world.keeper(world.step("one"), interval=3600)
    keeper.close()
    keeper.start()
    keeper.close()

    assert world.ran == []


def test_some_things_are_done_often_whose_ever_turn_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distore.registry.housekeeping.OFTEN", 0.01)
    world.turns = [False]
    often = world.step("often", error=Unavailable("busy"))
    keeper = Housekeeper(
        [world.step("one")],
        interval=3600,
        turn=world.turn,
        tell=world.said.append,
        monotonic=time.monotonic,
        often=lambda: none(often.run()),
    )

    keeper.start()
    world.await_runs(3)
    keeper.close()

    assert set(world.ran) == {"often"}
    assert set(world.said) == {"housekeeping: what is done often failed: busy"}


def none(_came: str) -> None:
    return None


def test_a_turn_that_fails_is_one_line_and_no_end(world: World) -> None:
    def broken(_within: float) -> AbstractContextManager[bool]:
        raise OSError("no lock")

    keeper = Housekeeper(
        [world.step("one")], interval=0.0, turn=broken, tell=world.said.append, monotonic=time.monotonic
    )

    assert not keeper.round()
    assert world.said == ["housekeeping: its turn failed: OSError('no lock')"]
