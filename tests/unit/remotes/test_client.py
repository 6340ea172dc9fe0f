"""Whom a client asks, in which order, and what their answers mean together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distore._internal.retry import with_retry_after
from distore.errors import (
    DeadlineExceeded,
    DistoreError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from distore.oci.reference import Reference
from distore.remotes.http.client import Client
from distore.remotes.http.health import REST, Health
from distore.remotes.http.hosts import Host

Answer = str | DistoreError


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hosts:
    """A client of the mirrors ``m1`` and ``m2`` and of ``origin``, and what each of them answers."""

    def __init__(self, clock: Clock) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        nobody: Any = None  # ``ask`` sends nothing by itself
        self.client = Client(
            Reference.parse("origin.example/demo", default_tag=None),
            hosts=(
                Host(scheme="https", netloc="m1", namespace="origin.example"),
                Host(
                    scheme="https",
                    netloc="m2",
                    namespace="origin.example",
                    capabilities=frozenset(("pull",)),
                ),
                Host(scheme="https", netloc="origin"),
            ),
            transport=nobody,
            authorizer=nobody,
            health=Health(clock=clock),
        )

    def ask(self, needed: str = "pull", **answers: Answer) -> str:
        """One question; ``asked`` has who was asked."""
        self.asked.clear()
        self.answers = answers

        def attempt(host: Host) -> str:
            self.asked.append(host.netloc)
            answer = self.answers[host.netloc]
            if isinstance(answer, DistoreError):
                raise answer
            return answer

        return self.client.ask(needed, "demo:latest", attempt)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hosts(clock: Clock) -> Hosts:
    return Hosts(clock)


def gone(name: str = "it") -> NotFound:
    return NotFound(f"{name}: answered 404")


def dead(name: str = "it") -> Unavailable:
    return Unavailable(f"{name}: cannot connect")


def busy(seconds: float = 3.0) -> Unavailable:
    return with_retry_after(Unavailable("it: answered 429"), seconds)


def test_the_first_that_answers_is_enough(hosts: Hosts) -> None:
    assert hosts.ask(m1="here") == "here"
    assert hosts.asked == ["m1"]


@pytest.mark.parametrize(
    "failure",
    [
        gone,
        dead,
        busy,
        lambda: PermissionDenied("no"),
        lambda: Unauthenticated("who"),
        lambda: FailedPrecondition("x"),
    ],
)
def test_a_mirror_that_cannot_help_is_passed_over(hosts: Hosts, failure: Callable[[], DistoreError]) -> None:
    assert hosts.ask(m1=failure(), m2=failure(), origin="here") == "here"
    assert hosts.asked == ["m1", "m2", "origin"]


def test_only_those_that_may_are_asked(hosts: Hosts) -> None:
    assert hosts.ask("resolve", m1=gone(), origin="here") == "here"
    with pytest.raises(FailedPrecondition, match=r"no host may 'fly'; see its hosts\.toml"):
        hosts.ask("fly")


def test_the_time_allowed_ends_all(hosts: Hosts) -> None:
    with pytest.raises(DeadlineExceeded):
        hosts.ask(m1=DeadlineExceeded("over"))


def test_what_nobody_has_names_whom_was_asked(hosts: Hosts) -> None:
    with pytest.raises(NotFound, match=r"^demo:latest: not found \(asked m1, m2, origin\)$"):
        hosts.ask(m1=gone(), m2=gone(), origin=gone())


def test_a_dead_mirror_is_not_asked_again_while_another_answers(hosts: Hosts, clock: Clock) -> None:
    hosts.ask(m1=dead(), m2=dead(), origin="here")

    hosts.ask(m1="late", m2="late", origin="here")

    assert hosts.asked == ["origin"]
    clock.now += REST

    assert hosts.ask(m1="back") == "back"
    assert hosts.asked == ["m1"]


def test_a_dead_mirror_is_asked_when_the_others_fail(hosts: Hosts) -> None:
    hosts.ask(m1=dead(), m2="here")

    assert hosts.ask(m1="back", m2=dead(), origin=dead()) == "back"
    assert hosts.asked == ["m2", "origin", "m1"]
    assert hosts.ask(m1="well again") == "well again"


def test_one_that_is_busy_is_not_ill(hosts: Hosts) -> None:
    hosts.ask(m1=busy(), m2="here")

    assert hosts.ask(m1="here again") == "here again"


def test_an_answer_of_any_kind_shows_health(hosts: Hosts) -> None:
    hosts.ask(m1=dead(), m2=dead(), origin="here")
    with pytest.raises(NotFound):
        hosts.ask(m1=gone(), m2=gone(), origin=gone())

    assert hosts.asked[0] == "origin"


def test_all_dead_is_the_failure_of_the_registry_itself(hosts: Hosts) -> None:
    with pytest.raises(Unavailable, match="origin: cannot connect"):
        hosts.ask(m1=dead("m1"), m2=dead("m2"), origin=dead("origin"))


@pytest.mark.parametrize("failure", [dead, busy])
def test_a_mirror_without_it_does_not_speak_for_a_registry_that_cannot_answer(
    hosts: Hosts, failure: Callable[[], Unavailable]
) -> None:
    with pytest.raises(Unavailable):
        hosts.ask(m1=gone(), m2=gone(), origin=failure())


def test_nor_while_that_registry_rests(hosts: Hosts) -> None:
    with pytest.raises(Unavailable):
        hosts.ask(m1=gone(), m2=gone(), origin=dead())

    assert hosts.ask(m1=gone(), m2=gone(), origin="here") == "here"
    assert hosts.asked == ["m1", "m2", "origin"]


def test_a_registry_without_it_is_believed_whatever_its_mirrors_suffer(hosts: Hosts) -> None:
    for _ in range(2):  # the second time the mirrors rest
        with pytest.raises(NotFound, match="demo:latest: not found"):
            hosts.ask(m1=dead(), m2=dead(), origin=gone())

    assert hosts.asked == ["origin"]
