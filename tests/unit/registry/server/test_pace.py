"""Pace: how long a client is waited for."""

from __future__ import annotations

from distore.registry.server.pace import Pace


def test_a_client_that_is_fast_enough_is_waited_for_again_and_again() -> None:
    watch = Pace(least=10, window=5.0).watch()

    assert all(watch.waited(1.0, 10) for _ in range(100))


def test_a_client_that_is_too_slow_is_not() -> None:
    watch = Pace(least=10, window=5.0).watch()

    assert [watch.waited(1.0, 9) for _ in range(5)] == [True, True, True, True, False]


def test_time_that_the_client_waits_for_us_does_not_count() -> None:
    watch = Pace(least=10, window=5.0).watch()

    assert all(watch.waited(0.0, 1) for _ in range(1000))
    assert watch.patience == 5.0


def test_without_a_least_rate_any_byte_will_do() -> None:
    watch = Pace(least=0, window=5.0).watch()

    assert watch.waited(5.0, 1)
    assert not watch.waited(5.0, 0)
