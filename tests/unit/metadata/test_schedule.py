"""When garbage is collected by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distore.errors import InvalidArgument
from distore.metadata import schedule
from distore.metadata.schedule import Schedule

if TYPE_CHECKING:
    from distore.content.local.database import Database
    from distore.content.local.store import LocalStore


@pytest.fixture
def database(store: LocalStore) -> Database:
    return store.database


def set_to(database: Database, *words: str) -> None:
    schedule.save(database, schedule.parse(schedule.load(database), words))


def test_nothing_is_due_and_nothing_written_until_it_is_turned_on(database: Database) -> None:
    schedule.note_deletion(database, 1.0, count=1000)

    assert not schedule.due(database, 2.0)
    assert not database.exists()


def test_what_is_set_is_kept(database: Database) -> None:
    set_to(database, "deletion_threshold=10", "schedule_delay=1m", "pause_threshold=0.5")

    assert schedule.load(database) == Schedule(
        enabled=True, deletion_threshold=10, schedule_delay=60.0, pause_threshold=0.5
    )
    set_to(database, "off")
    assert not schedule.load(database).enabled
    assert schedule.load(database).deletion_threshold == 10


@pytest.mark.parametrize(
    "word",
    [
        "",
        "on=1",
        "deletions=3",
        "deletion_threshold=-1",
        "pause_threshold=0.6",
        "pause_threshold=nan",
        "schedule_delay=soon",
        "mutation_threshold=1.5",
    ],
)
def test_a_bad_word_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument):
        schedule.parse(Schedule(), [word])


def test_a_pass_is_due_after_so_many_deletions_and_then_again(database: Database) -> None:
    set_to(database, "deletion_threshold=2", "pause_threshold=0")
    schedule.note_deletion(database, 1.0)
    assert not schedule.due(database, 1.0)

    schedule.note_deletion(database, 2.0)
    assert schedule.due(database, 2.0)

    schedule.note_pass(database, 3.0, took=1.0)
    assert not schedule.due(database, 4.0)


def test_changes_count_once_there_was_a_deletion(database: Database) -> None:
    set_to(database, "mutation_threshold=3")
    schedule.note_mutation(database, 1.0, count=5)
    assert not schedule.due(database, 1.0)

    schedule.note_deletion(database, 1.0)
    assert schedule.due(database, 1.0)


def test_a_pass_waits_for_the_delay_and_for_its_share_of_the_time(database: Database) -> None:
    set_to(database, "deletion_threshold=1", "schedule_delay=10s", "pause_threshold=0.1")
    schedule.note_deletion(database, 100.0)
    assert not schedule.due(database, 109.0)
    assert schedule.due(database, 110.0)

    schedule.note_pass(database, 111.0, took=2.0)  # a tenth of the time: 18 s of every 20 without
    schedule.note_deletion(database, 112.0)
    assert not schedule.due(database, 128.0)
    assert schedule.due(database, 129.5)


def test_a_server_starts_in_peace(database: Database) -> None:
    set_to(database, "deletion_threshold=1", "startup_delay=5s")
    schedule.note_deletion(database, 100.0)

    assert not schedule.due(database, 100.0, started=96.0)
    assert schedule.due(database, 101.0, started=96.0)
