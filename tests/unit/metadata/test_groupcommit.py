"""Changes that reach the disk together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from distore.errors import InvalidArgument
from distore.metadata.groupcommit import GroupCommit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from distore.content.local.store import LocalStore


def insert(key: str) -> Callable[[sqlite3.Connection], str]:
    def action(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO settings VALUES (?, 'x')", (key,))
        return key

    return action


def keys(store: LocalStore) -> list[str]:
    return [str(row[0]) for row in store.database.query("SELECT key FROM settings ORDER BY key")]


class Held:
    """Keeps the first action of a GroupCommit from ending, so that others wait behind it."""

    def __init__(self, commit: GroupCommit) -> None:
        self._begun, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=commit.do, args=(self._action,))

    def _action(self, _connection: sqlite3.Connection) -> None:
        self._begun.set()
        assert self._go.wait(10)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._begun.wait(10)

    def __exit__(self, *exc: object) -> None:
        self._go.set()
        self._thread.join()


def waiting(commit: GroupCommit, number: int) -> None:
    """Until so many wait for their turn."""
    while len(commit._waiting) < number:
        pass


def run(
    commit: GroupCommit, action: Callable[[sqlite3.Connection], str]
) -> tuple[threading.Thread, list[object]]:
    answers: list[object] = []

    def target() -> None:
        try:
            answers.append(commit.do(action))
        except InvalidArgument as error:
            answers.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    return thread, answers


def test_those_who_wait_for_one_are_done_in_one_transaction(store: LocalStore) -> None:
    commit = GroupCommit(store.database)
    began: list[str] = []
    with Held(commit):
        store.database._connection.set_trace_callback(began.append)  # type: ignore[union-attr] # it is open
        threads = []
        for number in range(20):
            threads.append(run(commit, insert(f"{number:02}")))
            waiting(commit, number + 1)
    for thread, _ in threads:
        thread.join()

    assert [answers for _, answers in threads] == [[f"{number:02}"] for number in range(20)]
    assert keys(store) == [f"{number:02}" for number in range(20)]
    assert began.count("COMMIT") == 2  # with that of the one they waited for


def test_one_that_fails_fails_alone(store: LocalStore) -> None:
    commit = GroupCommit(store.database)

    def bad(connection: sqlite3.Connection) -> str:
        insert("of the bad one")(connection)
        raise InvalidArgument("bad")

    with Held(commit):
        threads = []
        for number, action in enumerate((insert("a"), bad, insert("b"))):
            threads.append(run(commit, action))
            waiting(commit, number + 1)
    for thread, _ in threads:
        thread.join()

    assert [str(answers[0]) for _, answers in threads] == ["a", "bad", "b"]
    assert keys(store) == ["a", "b"]


def test_an_error_is_that_of_whoever_asked(store: LocalStore) -> None:
    commit = GroupCommit(store.database)

    def interrupted(_connection: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commit.do(interrupted)
    assert commit.do(insert("a")) == "a"


def test_what_is_to_be_done_soon_is_done_at_once_when_nobody_is_at_work(store: LocalStore) -> None:
    commit = GroupCommit(store.database)
    commit.soon(insert("a"))

    assert keys(store) == ["a"]


def test_what_is_to_be_done_soon_waits_for_nobody_and_is_done_behind_him(store: LocalStore) -> None:
    commit = GroupCommit(store.database)
    with Held(commit):
        commit.soon(insert("a"))
        assert keys(store) == []

    assert keys(store) == ["a"]


def test_nobody_is_told_that_it_failed(store: LocalStore) -> None:
    commit = GroupCommit(store.database)

    def bad(_connection: sqlite3.Connection) -> None:
        raise InvalidArgument("bad")

    commit.soon(bad)
    commit.soon(insert("a"))

    assert keys(store) == ["a"]
