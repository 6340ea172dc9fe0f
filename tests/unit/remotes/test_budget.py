"""SharedBudget: when a host that refused may be asked again, by several processes together."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.remotes.budgeting import FILE, HOST, Clock, waits

from distore._internal.retry import retry_after
from distore.errors import Cancelled, DistoreError, Unavailable
from distore.remotes import spacing
from distore.remotes.budget import LONGEST_WAIT, NoBudget, SharedBudget


def test_a_host_that_never_refused_costs_no_wait_and_no_file(
    budget: SharedBudget, clock: Clock, folder: Path
) -> None:
    budget.enter(HOST)
    budget.told(HOST, 200, remaining=76)
    budget.told(HOST, 404)
    budget.told(HOST, 500)
    budget.enter(HOST)

    assert clock.naps == []
    assert not folder.exists()


@pytest.mark.parametrize("status", [429, 503])
def test_all_processes_leave_a_host_alone_for_as_long_as_it_asks(
    process: Callable[[], SharedBudget], clock: Clock, status: int
) -> None:
    process().told(HOST, status, retry_after=20.0)

    assert waits(process(), clock) == 20.0
    assert waits(process(), clock) == spacing.FIRST
    assert waits(process(), clock, host="other.example") == 0.0


def test_a_name_in_capitals_is_the_same_host(process: Callable[[], SharedBudget], clock: Clock) -> None:
    process().told(HOST.upper(), 429, retry_after=20.0)

    assert waits(process(), clock) == 20.0


def test_stores_that_know_nothing_of_each_other_do_not_come_back_at_once(tmp_path: Path) -> None:
    def end(chance: float) -> float:
        clock = Clock()
        folder = str(tmp_path / str(chance))
        budget = SharedBudget(folder, now=clock, random=lambda: chance, sleep=clock.sleep)
        budget.told(HOST, 429, retry_after=20.0)
        return waits(budget, clock)

    ends = [end(0.0), end(0.5), end(0.99)]

    assert ends == sorted(set(ends))
    assert ends[0] == 20.0


def test_without_a_time_the_spacing_doubles_up_to_its_bound(budget: SharedBudget, clock: Clock) -> None:
    gaps = []
    for _ in range(8):
        budget.told(HOST, 429)
        gaps.append(waits(budget, clock))
        clock.now += spacing.WIDEST  # the moment reserved for this request is over

    assert gaps == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_requests_that_were_sent_together_and_refused_together_count_once(
    budget: SharedBudget, clock: Clock
) -> None:
    for _ in range(6):
        budget.told(HOST, 429)

    assert waits(budget, clock) == 0.5


def test_processes_together_keep_the_spacing(process: Callable[[], SharedBudget], clock: Clock) -> None:
    starts: list[float] = []

    def standing_still(seconds: float) -> None:
        starts.append(round(seconds, 3))

    process().told(HOST, 429)
    clock.now += 0.5
    for budget in [process() for _ in range(4)]:
        budget._sleep = standing_still
        budget.enter(HOST)
        budget.enter(HOST)

    assert starts == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]


def test_a_refusal_during_the_wait_makes_it_longer(process: Callable[[], SharedBudget], clock: Clock) -> None:
    budget, other = process(), process()
    budget.told(HOST, 429, retry_after=2.0)

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.naps) == 1:
            other.told(HOST, 429, retry_after=10.0)

    budget._sleep = sleep
    budget.enter(HOST)

    assert clock.naps == [2.0, 10.0]


def test_successes_bring_the_spacing_down_until_nothing_is_left(
    process: Callable[[], SharedBudget], clock: Clock, folder: Path
) -> None:
    budget = process()
    budget.told(HOST, 429)
    gaps = []
    while (folder / FILE).exists():
        gaps.append(waits(process(), clock))
        budget.told(HOST, 200)

    assert gaps[0] == 0.5
    assert gaps[1:] == sorted(gaps[1:], reverse=True)
    assert len(gaps) < 12
    assert waits(process(), clock) == 0.0


def test_an_answer_to_a_request_from_before_the_refusal_is_no_success(
    budget: SharedBudget, clock: Clock
) -> None:
    budget.told(HOST, 429, retry_after=5.0)
    for _ in range(20):
        budget.told(HOST, 200)

    assert waits(budget, clock) == 5.0


def test_a_server_s_own_failure_says_nothing_of_its_patience(
    budget: SharedBudget, clock: Clock, folder: Path
) -> None:
    budget.told(HOST, 429)
    clock.now += 1
    for _ in range(20):
        budget.told(HOST, 502)

    assert (folder / FILE).exists()


def test_the_last_request_that_is_allowed_begins_the_spacing(budget: SharedBudget, clock: Clock) -> None:
    budget.told(HOST, 200, remaining=0)

    assert waits(budget, clock) == spacing.FIRST


def test_a_wish_for_too_long_is_told_and_not_waited_for(budget: SharedBudget, clock: Clock) -> None:
    budget.told(HOST, 429, retry_after=LONGEST_WAIT + 60)

    with pytest.raises(Unavailable, match=f"{HOST}: asks to be left alone for 180 s") as caught:
        budget.enter(HOST)

    assert retry_after(caught.value) == pytest.approx(180.0)
    assert clock.naps == []
    clock.now += 175
    assert waits(budget, clock) == 5.0  # the refused wait took nobody's place


def test_a_wait_that_is_broken_off_is_cancelled_and_later_ones_are_not(folder: Path) -> None:
    budget = SharedBudget(str(folder), random=lambda: 0.0)
    budget.told(HOST, 429, retry_after=60.0)
    errors: list[DistoreError] = []
    waiting = threading.Event()
    original = budget._sleep

    def sleep(seconds: float) -> None:
        waiting.set()
        original(seconds)

    def enter() -> None:
        try:
            budget.enter(HOST)
        except DistoreError as error:
            errors.append(error)

    budget._sleep = sleep
    thread = threading.Thread(target=enter)
    thread.start()
    waiting.wait(10)
    while thread.is_alive():  # it may not have begun to sleep
        budget.abort()
        thread.join(0.01)

    assert [type(error) for error in errors] == [Cancelled]
    budget._wait(0.001)


def test_a_long_wait_is_told_once_for_all_who_wait(clock: Clock) -> None:
    notes: list[tuple[str, float]] = []

    def stop(_seconds: float) -> None:
        raise Cancelled("stop")

    budget = SharedBudget(
        None,
        now=clock,
        random=lambda: 0.0,
        sleep=stop,
        on_wait=lambda netloc, seconds: notes.append((netloc, seconds)),
    )
    budget.told("fast.example", 429)
    budget.told(HOST, 429, retry_after=20.0)

    for netloc in ("fast.example", HOST, HOST):
        with suppress(Cancelled):
            budget.enter(netloc)

    assert notes == [(HOST, 20.0)]


def test_a_nap_that_raises_goes_through(budget: SharedBudget) -> None:
    def stop(_seconds: float) -> None:
        raise Cancelled("stop")

    budget.told(HOST, 429)
    budget._sleep = stop

    with pytest.raises(Cancelled, match="stop"):
        budget.enter(HOST)


def test_a_long_wish_outlives_an_hour(process: Callable[[], SharedBudget], clock: Clock) -> None:
    process().told(HOST, 429, retry_after=7200.0)
    clock.now += 7100

    assert waits(process(), clock) == 100.0


def test_threads_of_one_process_share_the_spacing(process: Callable[[], SharedBudget], clock: Clock) -> None:
    budget = process()
    naps: list[float] = []
    budget._sleep = lambda seconds: naps.append(round(seconds, 3))
    budget.told(HOST, 429)
    clock.now += 0.5
    threads = [threading.Thread(target=budget.enter, args=(HOST,)) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(naps) == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]


def test_no_budget_lets_everybody_in() -> None:
    budget = NoBudget()

    budget.told(HOST, 429, retry_after=1e9)
    budget.enter(HOST)
    budget.abort()


_ASK_TEN_TIMES = """
import sys
from distore.remotes.budget import SharedBudget
budget = SharedBudget(sys.argv[1], now=lambda: 1_700_000_000.0, random=lambda: 0.0,
                      sleep=lambda seconds: print(f"{seconds:.3f}"))
sys.stdin.readline()
for _ in range(10):
    budget.enter("registry.example:5000")
"""


@pytest.mark.slow
def test_real_processes_never_take_the_same_moment(folder: Path) -> None:
    first = SharedBudget(str(folder), now=lambda: 1_699_999_999.5, random=lambda: 0.0)
    first.told(HOST, 429)
    command = [sys.executable, "-I", "-c", _ASK_TEN_TIMES, str(folder)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]

    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    naps = [float(line) for process in processes for line in process.communicate(timeout=60)[0].split()]

    assert sorted(naps) == [0.5 * number for number in range(1, 40)]  # the first of 40 went at once
