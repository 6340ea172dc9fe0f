"""Which hosts rest, and for how long."""

from __future__ import annotations

import pytest

from distore.remotes.http.health import REST, Health
from distore.remotes.http.hosts import Host


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock=clock)


A, B, C = (Host(scheme="http", netloc=name) for name in "abc")


def test_hosts_are_asked_in_their_order_while_all_are_well(health: Health) -> None:
    assert health.sorted([B, A]) == ([B, A], [])


def test_one_that_failed_waits_until_the_others_have_failed(health: Health) -> None:
    health.ill("a")

    assert health.sorted([A, B, C]) == ([B, C], [A])


def test_when_all_have_failed_the_order_is_as_before(health: Health) -> None:
    for host in (C, A, B):
        health.ill(host.netloc)

    assert health.sorted([A, B, C]) == ([A, B, C], [])


def test_rest_ends_by_itself(health: Health, clock: Clock) -> None:
    health.ill("a")
    clock.now += REST - 0.001

    assert health.sorted([A, B]) == ([B], [A])
    clock.now += 0.001

    assert health.sorted([A, B]) == ([A, B], [])


def test_an_answer_ends_the_rest(health: Health) -> None:
    health.ill("a")
    health.well("a")
    health.well("never seen")

    assert health.sorted([A, B]) == ([A, B], [])
