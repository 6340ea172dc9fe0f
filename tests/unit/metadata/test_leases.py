"""Leases beyond their contract: locks, owners, and what happens when the store takes no writes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from distore._internal import filelock
from distore.content.local.store import LocalStore
from distore.errors import (
    AlreadyExists,
    DiskFull,
    DistoreError,
    FailedPrecondition,
    PermissionDenied,
    ReadOnly,
    Unavailable,
)
from distore.leases import PURPOSE, LeaseOwner, Resource, parse_expire
from distore.metadata.db import Metadata
from distore.metadata.leases import Leases, lock_name
from distore.oci.digest import Digest
from distore.testing.content_contract import BLOB, DIGEST, put

NOW = 1_767_323_045.125


def made(store: LocalStore, *, namespace: str = "default", token: Callable[[], str] = lambda: "0") -> Leases:
    return Leases(
        store.database,
        folder=store.paths.leases,
        namespace=namespace,
        command="dist test",
        now=lambda: NOW,
        sleep=lambda _: None,
        token=token,
    )


@pytest.fixture
def leases(store: LocalStore) -> Iterator[Leases]:
    numbers = itertools.count()
    yield made(store, token=lambda: str(next(numbers)))
    store.close()


def locks(store: LocalStore) -> list[str]:
    return os.listdir(store.paths.leases)


def test_a_held_lease_says_who_works_and_what_for(leases: Leases) -> None:
    with leases.held("im port/é") as lease:
        assert lease.id == f"dist-im-port---{os.getpid()}-0"
        assert lease.labels == {PURPOSE: "im port/é"}
        assert lease.owner == LeaseOwner(
            pid=os.getpid(),
            host=os.uname().nodename,
            command="dist test",
            since=datetime.fromtimestamp(NOW, UTC),
        )


def test_the_lock_goes_with_the_lease(leases: Leases, store: LocalStore) -> None:
    with leases.held("test") as lease:
        assert locks(store) == [lock_name("default", lease.id)]

    assert locks(store) == []


def test_an_id_that_a_dead_lease_has_is_not_taken(store: LocalStore) -> None:
    tokens = ["1", "2", "3"]
    leases = made(store, token=lambda: tokens.pop(0))
    with leases.held("test") as first, leases.held("test") as second:
        assert (first.id[-1], second.id[-1]) == ("1", "2")
        store.database.change("UPDATE leases SET id = ? WHERE id = ?", f"dist-test-{os.getpid()}-3", first.id)

        with pytest.raises(IndexError), leases.held("test"):
            pass

        assert {lease.id[-1] for lease in leases.list()} == {"2", "3"}


def test_ids_that_are_never_free_are_not_tried_for_ever(store: LocalStore) -> None:
    leases = made(store)
    with leases.held("test"), pytest.raises(Unavailable, match="no id"), leases.held("test"):
        pass


def test_a_lease_is_looked_up_in_its_own_namespace(store: LocalStore) -> None:
    here, there = made(store), made(store, namespace="there")
    with here.held("test") as lease, there.held("test") as other:
        assert lease.id == other.id

        here.delete(lease.id, force=True)

        assert not here.is_live("default", lease.id)
        assert here.is_live("there", lease.id)


def test_what_cannot_be_told_counts_as_live(leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: str) -> NoReturn:
        raise PermissionError(13, "no", path)

    with leases.held("test") as lease, monkeypatch.context() as patch:
        patch.setattr(filelock, "open_to_look", forbidden)

        assert leases.is_live("default", lease.id)
        assert leases.get(lease.id).owner == LeaseOwner()
        with pytest.raises(FailedPrecondition, match=r"pid \? on \?"):
            leases.delete(lease.id)


def test_a_lease_that_cannot_be_removed_at_the_end_is_dead(
    leases: Leases, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise DiskFull("full")

    with monkeypatch.context() as patch:
        with pytest.raises(ZeroDivisionError), leases.held("test") as lease:
            patch.setattr(store.database, "transaction", full)
            _ = 1 / 0

        assert leases.get(lease.id).is_dead

    leases.delete(lease.id)
    assert (list(leases.list()), locks(store)) == ([], [])


def test_a_dead_lease_that_is_deleted_leaves_no_lock(leases: Leases, store: LocalStore) -> None:
    store.database.change("INSERT INTO leases VALUES ('default', 'work', 0, 1)")
    Path(store.paths.leases).mkdir()
    lock = Path(store.paths.leases, lock_name("default", "work"))
    lock.write_text("pid 1\n")

    assert (list(leases.dead()), leases.get("work").owner) == (["work"], None)
    leases.delete("work")

    assert locks(store) == []


def test_locks_that_no_lease_has_are_swept(leases: Leases, store: LocalStore) -> None:
    leases.sweep_locks()  # there is nothing yet
    with leases.held("test") as lease:
        for name in ("0" * 64, lock_name("default", "work")):
            Path(store.paths.leases, name).touch()
        held = filelock.acquire(os.path.join(store.paths.leases, "1" * 64), sleep=lambda _: None)
        assert held is not None

        leases.sweep_locks()

        assert set(locks(store)) == {"1" * 64, lock_name("default", lease.id)}
        held.release()


def test_resources_are_counted(leases: Leases) -> None:
    leases.create("work")
    for data in (b"1", b"2"):
        leases.add("work", Resource(type="content", key=Digest.of(data)))

    assert (leases.count("work"), leases.count("none")) == (2, 0)


@pytest.mark.parametrize("error", [PermissionDenied("no"), ReadOnly("no")])
def test_a_store_that_takes_no_writes_holds_nothing(
    store: LocalStore, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, BLOB)
    metadata = Metadata(store, command="dist test")

    def fail(**_: object) -> NoReturn:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(store.database, "transaction", fail)
        with pytest.raises(ReadOnly), metadata.leases.held("test"):
            pass
        with metadata.leased("test") as content:
            assert content.visibility.lease is None
            content.reader(DIGEST).close()

    assert locks(store) == []


def test_what_is_used_through_a_lease_is_held_before_it_is_looked_at(store: LocalStore) -> None:
    metadata = Metadata(store, command="dist test")
    missing = Digest.of(b"missing")
    with metadata.leased("test") as content:
        with pytest.raises(Exception, match="not found"):
            content.info(missing)
        put(content, BLOB)
        [lease] = metadata.leases.list()

        held = {resource.key for resource in metadata.leases.resources(lease.id)}

        assert held == {missing, DIGEST}
    assert list(metadata.leases.list()) == []


def test_who_loses_his_lease_finds_out(store: LocalStore) -> None:
    metadata = Metadata(store, command="dist test")
    with pytest.raises(FailedPrecondition, match="the block's own"), metadata.leased("test") as content:
        [lease] = metadata.leases.list()
        metadata.leases.delete(lease.id, force=True)

        with pytest.raises(FailedPrecondition, match=f"lease {lease.id}: removed"):
            content.writer("r", expected=DIGEST)
        raise FailedPrecondition("the block's own")


def test_who_needs_nothing_more_of_a_lost_lease_finds_out_at_the_end(store: LocalStore) -> None:
    metadata = Metadata(store, command="dist test")

    with (
        pytest.raises(FailedPrecondition, match="removed while it was in use"),
        metadata.leased("test") as content,
    ):
        content.visibility.hold([DIGEST])
        [lease] = metadata.leases.list()
        metadata.leases.delete(lease.id, force=True)
        content.visibility.hold([DIGEST])  # noted already: nobody looks again

    assert list(metadata.leases.list()) == []


@pytest.mark.timeout(10)
def test_what_is_no_lock_in_the_folder_of_leases_is_left_alone(store: LocalStore) -> None:
    leases = Metadata(store, command="dist test").leases
    with leases.held("test") as lease:
        path = os.path.join(store.paths.leases, lock_name("default", lease.id))
        os.rename(path, f"{path}-moved")
        os.mkfifo(path)
        os.mkfifo(f"{store.paths.leases}/pipe")
        os.mkdir(f"{store.paths.leases}/folder")
        os.symlink("nowhere", f"{store.paths.leases}/link")

        leases.sweep_locks()

        assert leases.is_live("default", lease.id)  # nobody can tell
    assert {"pipe", "folder", "link"} <= set(os.listdir(store.paths.leases))


@pytest.mark.parametrize("created", ["x", 1 << 62, -1, None])
def test_a_lease_whose_record_is_odd_is_listed_all_the_same(store: LocalStore, created: object) -> None:
    metadata = Metadata(store, command="dist test")
    metadata.leases.create("odd")
    with suppress(DistoreError):  # it takes no NULL
        store.database.change("UPDATE leases SET created = ?", created)

    assert [lease.id for lease in metadata.leases.list()] == ["odd"]
    metadata.collect()


def test_a_lease_within_a_lease_is_the_same(store: LocalStore) -> None:
    metadata = Metadata(store, command="dist test")
    with metadata.leased("outer") as content, Metadata(content, command="x").leased("inner") as inner:
        assert inner is content
        assert len(list(metadata.leases.list())) == 1


def test_an_id_that_exists_is_named(leases: Leases) -> None:
    leases.create("work")

    with pytest.raises(AlreadyExists) as caught:
        leases.create("work")

    assert caught.value.subject == "work"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.5Z", datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789-01:00", datetime(2026, 1, 2, 4, 4, 5, 123_456, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_go_reads_it(text: str, expected: datetime) -> None:
    assert parse_expire(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "now",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02T03:04Z",
        "20260102T030405Z",
        "2026-W01-1T03:04:05Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T03:04:05.5.5Z",
        "2026-01-02T25:04:05Z",
        "2026-02-30T03:04:05Z",
        "2026-01-02T03:04:05+0100",
        "2026-01-02T03:04:05+01:00:00",
        "2026-01-02T03:04:05+25:00",
        "0001-01-01T00:00:00+01:00",
        "\u0662026-01-02T03:04:05Z",
        " 2026-01-02T03:04:05Z",
    ],
)
def test_what_go_would_not_read_is_no_time(text: str) -> None:
    assert parse_expire(text) is None
