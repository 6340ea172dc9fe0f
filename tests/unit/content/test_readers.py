"""Reads beside whoever writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from distore.content.local import databasefile, readers
from distore.content.local.database import Database
from distore.errors import DataLoss

ADD = "INSERT INTO settings VALUES (?, 'x')"
ALL = "SELECT key FROM settings ORDER BY key"


def opened(path: Path) -> Database:
    return Database(str(path / "dist.db"), ensure_folder=lambda: None)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = opened(tmp_path)
    yield database
    database.close()


def test_without_a_database_there_is_nothing_and_none_is_made(database: Database, tmp_path: Path) -> None:
    assert database.read(ALL) == []
    assert database.version() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_read_sees_what_was_committed_and_nothing_else(database: Database) -> None:
    database.change(ADD, "a")
    with database.transaction() as connection:
        connection.execute(ADD, ("b",))
        assert database.read(ALL) == [("a",)]
        assert database.query(ALL) == [("a",), ("b",)]

    assert database.read(ALL) == [("a",), ("b",)]


def test_a_question_beside_another_threads_transaction_is_answered_from_before_it(database: Database) -> None:
    database.change(ADD, "a")
    answers: list[object] = []
    with database.transaction() as connection:
        connection.execute(ADD, ("b",))
        thread = threading.Thread(target=lambda: answers.append(database.query(ALL)))
        thread.start()
        thread.join(10)

        assert answers == [[("a",)]]


def test_the_version_changes_with_every_commit_of_anybody(database: Database, tmp_path: Path) -> None:
    other = opened(tmp_path)
    database.change(ADD, "a")
    seen = {database.version()}
    assert database.version() in seen

    for number, writer in enumerate((database, other, database, other)):
        writer.change(ADD, f"{number}")
        assert database.version() not in seen
        seen.add(database.version())
    database.close()
    assert database.version() not in seen
    other.close()


def test_connections_are_kept_for_the_next_read_up_to_a_number(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_KEPT", 2)
    database.change(ADD, "a")
    barrier = threading.Barrier(6)

    def read() -> None:
        barrier.wait(10)
        for _ in range(20):
            assert database.read(ALL) == [("a",)]

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 <= len(database._readers._idle) <= 2
    there = (tmp_path / "dist.db").stat()
    database.close()
    assert (there.st_dev, there.st_ino) not in databasefile._OPENED


def test_an_error_is_that_of_the_database_and_the_next_read_begins_anew(database: Database) -> None:
    database.change(ADD, "a")

    with pytest.raises(DataLoss, match="no such table: missing; dist db rebuild"):
        database.read("SELECT * FROM missing")
    assert database.read(ALL) == [("a",)]
