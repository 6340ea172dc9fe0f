"""Passwords: checked seldom, a few at a time, and remembered for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from distore.registry.attempts import Attempts
from distore.registry.basic import Credentials
from distore.registry.passwords import Passwords

ANN = Credentials("ann", "pw")
WRONG = Credentials("ann", "no")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Accounts:
    """Counts the checks; ``gate`` holds them up."""

    def __init__(self) -> None:
        self.users = {"ann": "pw", "bob": "b"}
        self.checked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)

    def proof(self, user: str, /) -> bytes | None:
        kept = self.users.get(user)
        return None if kept is None else kept.encode()

    def verify(self, user: str, password: str, /) -> bool:
        self.checked.append(user)
        self.begun.release()
        assert self.gate.wait(30)
        return self.users.get(user) == password


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


@pytest.fixture
def make(accounts: Accounts, clock: Clock) -> Callable[..., Passwords]:
    def build(*, most: int = 3, checks: int = 2) -> Passwords:
        return Passwords(
            lambda: accounts,
            key=b"k" * 32,
            attempts=Attempts(most=most, interval=30, now=clock),
            lasting=60,
            checks=checks,
            now=clock,
        )

    return build


@pytest.fixture
def passwords(make: Callable[..., Passwords]) -> Passwords:
    return make()


def test_a_right_password_is_checked_once_and_remembered(passwords: Passwords, accounts: Accounts) -> None:
    assert not passwords.remembers("1.1.1.1", ANN)

    assert all(passwords.check("1.1.1.1", ANN).right for _ in range(20))

    assert passwords.remembers("1.1.1.1", ANN)
    assert accounts.checked == ["ann"]


def test_what_was_remembered_ends(passwords: Passwords, accounts: Accounts, clock: Clock) -> None:
    passwords.check("1.1.1.1", ANN)

    clock.now += 59
    assert passwords.remembers("1.1.1.1", ANN)
    clock.now += 1
    assert not passwords.remembers("1.1.1.1", ANN)
    passwords.check("1.1.1.1", ANN)
    assert accounts.checked == ["ann", "ann"]


def test_a_new_password_ends_the_old_one_at_once(passwords: Passwords, accounts: Accounts) -> None:
    passwords.check("1.1.1.1", ANN)

    accounts.users["ann"] = "new"

    assert not passwords.remembers("1.1.1.1", ANN)
    assert not passwords.check("1.1.1.1", ANN).right


def test_a_user_who_is_taken_away_is_not_remembered(passwords: Passwords, accounts: Accounts) -> None:
    passwords.check("1.1.1.1", ANN)

    del accounts.users["ann"]

    assert not passwords.remembers("1.1.1.1", ANN)


def test_no_two_names_and_passwords_are_taken_for_each_other(passwords: Passwords) -> None:
    passwords.check("1.1.1.1", ANN)

    assert not passwords.remembers("1.1.1.1", Credentials("annp", "w"))
    assert not passwords.remembers("1.1.1.1", Credentials("an", "npw"))


def test_after_some_wrong_passwords_a_client_waits_for_that_user(
    passwords: Passwords, accounts: Accounts
) -> None:
    verdicts = [passwords.check("1.1.1.1", WRONG) for _ in range(5)]

    assert [verdict.wait for verdict in verdicts] == [0, 0, 0, 30, 30]
    assert len(accounts.checked) == 3
    assert passwords.check("1.1.1.1", ANN).wait == 30  # the right one, too: it is not looked at
    assert passwords.check("1.1.1.1", Credentials("bob", "b")).right
    assert passwords.check("2.2.2.2", ANN).right


def test_whoever_was_let_in_lately_goes_on_beside_somebody_who_guesses(passwords: Passwords) -> None:
    passwords.check("1.1.1.1", ANN)

    for _ in range(5):
        passwords.check("1.1.1.1", WRONG)

    assert passwords.check("1.1.1.1", ANN).right


def test_what_one_client_has_shown_is_no_answer_to_the_guesses_of_another(passwords: Passwords) -> None:
    passwords.check("1.1.1.1", ANN)

    verdicts = [passwords.check("6.6.6.6", Credentials("ann", f"guess {number}")) for number in range(5)]

    assert [verdict.wait for verdict in verdicts] == [0, 0, 0, 30, 30]
    assert not passwords.remembers("6.6.6.6", ANN)
    assert passwords.check("6.6.6.6", ANN).wait == 30
    assert passwords.check("1.1.1.1", ANN).right


def test_attempts_come_back_one_by_one(passwords: Passwords, clock: Clock) -> None:
    for _ in range(3):
        passwords.check("1.1.1.1", WRONG)

    clock.now += 29
    assert passwords.check("1.1.1.1", WRONG).wait == 1
    clock.now += 1
    assert passwords.check("1.1.1.1", WRONG).wait == 0
    assert passwords.check("1.1.1.1", WRONG).wait == 30


def test_success_gives_all_attempts_back(passwords: Passwords) -> None:
    for _ in range(2):
        passwords.check("1.1.1.1", WRONG)
    passwords.check("1.1.1.1", ANN)

    assert [passwords.check("1.1.1.1", WRONG).wait for _ in range(3)] == [0, 0, 0]


def test_a_client_that_tries_one_name_after_the_other_waits_as_well(passwords: Passwords) -> None:
    verdicts = [passwords.check("1.1.1.1", Credentials(f"u{n}", "x")) for n in range(40)]

    assert sum(verdict.wait == 0 for verdict in verdicts) == 30


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    attempts = Attempts(most=1, interval=30, now=lambda: 0.0)

    attempts.failed("2001:db8::1", "ann")

    assert attempts.wait("2001:db8::2", "ann") == 30
    assert attempts.wait("2001:db8:0:1::2", "ann") == 0
    attempts.failed("unix", "ann")
    assert attempts.wait("unix", "ann") == 30


def test_a_clock_that_goes_back_shuts_nobody_out_for_longer() -> None:
    clock = Clock()
    attempts = Attempts(most=1, interval=30, now=clock)
    attempts.failed("1.1.1.1", "ann")

    clock.now -= 1000

    assert attempts.wait("1.1.1.1", "ann") == 30


def test_many_requests_at_once_ask_once(passwords: Passwords, accounts: Accounts) -> None:
    accounts.gate.clear()

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(passwords.check, "1.1.1.1", WRONG)
        assert accounts.begun.acquire(timeout=30)
        others = [pool.submit(passwords.check, "1.1.1.1", WRONG) for _ in range(6)]
        accounts.gate.set()

        assert not any(one.result(30).right for one in (first, *others))

    # Those that came while it ran share its answer; who came later took an attempt of their own.
    assert 1 <= len(accounts.checked) <= 3


def test_only_so_many_are_checked_at_once_and_wait(
    make: Callable[..., Passwords], accounts: Accounts
) -> None:
    passwords = make(checks=1)
    accounts.gate.clear()

    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(passwords.check, f"1.1.1.{n}", Credentials(f"u{n}", "x")) for n in range(12)]
        full = _first(waiting, 7)
        running = len(accounts.checked)
        accounts.gate.set()

        assert [one.result(30).wait for one in full] == [1] * 7
    assert running == 1
    assert len(accounts.checked) == 5  # one, and the four that waited for it


def _first(futures: list, count: int) -> list:  # type: ignore[type-arg] # of any kind
    from concurrent.futures import as_completed

    done = as_completed(futures, timeout=30)
    return [next(done) for _ in range(count)]


def test_a_password_is_in_no_repr(passwords: Passwords) -> None:
    passwords.check("1.1.1.1", Credentials("ann", "secret-word"))

    assert "secret-word" not in repr(vars(passwords)) + repr(Credentials("ann", "secret-word"))


def test_a_name_that_nobody_can_have_takes_little_memory(clock: Clock) -> None:
    attempts = Attempts(most=3, interval=30, now=clock)

    for number in range(4):
        attempts.failed("192.0.2.1", "x" * 60_000 + str(number))

    assert attempts.wait("192.0.2.1", "x" * 300) > 0
    assert attempts.wait("192.0.2.1", "ann") == 0
