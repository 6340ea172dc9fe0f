"""Changes that reach the disk together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from distore.errors import InvalidArgument
from distore.metadata.groupcommit import GroupCommit, _Job

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


def test_when_none_can_begin_all_hear_so_at_once(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would wait for a minute, one behind the other."""
    commit = GroupCommit(store.database)
    tries: list[bool] = []

    def busy(*, durable: bool) -> object:
        tries.append(durable)
        raise InvalidArgument("busy")

    with Held(commit):
        threads = []
        for number in range(3):
            threads.append(run(commit, insert(f"{number}")))
            waiting(commit, number + 1)
        monkeypatch.setattr(store.database, "transaction", busy)
    for thread, _ in threads:
        thread.join()

    assert [str(answers[0]) for _, answers in threads] == ["busy"] * 3
    assert len(tries) == 1


def test_an_interrupt_of_one_who_works_for_others_leaves_them_nothing_but_their_work(
    store: LocalStore,
) -> None:
    commit = GroupCommit(store.database)
    signals = [KeyboardInterrupt()]
    interrupted: list[BaseException] = []

    def target(key: str) -> None:
        def action(connection: sqlite3.Connection) -> str:
            if signals:
                raise signals.pop()
            return insert(key)(connection)

        try:
            commit.do(action)
        except KeyboardInterrupt as error:
            interrupted.append(error)

    with Held(commit):
        threads = [threading.Thread(target=target, args=(key,)) for key in "abc"]
        for number, thread in enumerate(threads):
            thread.start()
            waiting(commit, number + 1)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()

    assert len(interrupted) == 1
    assert len(keys(store)) == 2
    assert not commit._waiting


def test_who_is_done_does_not_work_for_those_who_wait_themselves(store: LocalStore) -> None:
    commit = GroupCommit(store.database)

    commit._waiting.append(_Job(insert("a"), durable=False))
    commit.soon(insert("soon"))
    commit._waiting.append(_Job(insert("b"), durable=False))
    commit._work_for_others()

    assert keys(store) == ["a", "soon"]
