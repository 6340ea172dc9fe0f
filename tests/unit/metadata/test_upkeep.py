"""What a server removes from a store, in turn with others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from distore.content.blobs import write_blob
from distore.content.local.store import LocalStore
from distore.errors import AlreadyExists
from distore.metadata.db import Metadata
from distore.metadata.upkeep import LOCK, Upkeep
from distore.oci.digest import Digest


class World:
    """A store whose clock a test sets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = LocalStore(str(root))
        self.clock = 1_000_000.0
        self.metadata = Metadata(self.store, command="test", now=lambda: self.clock)
        self.upkeep = Upkeep(self.metadata)

    def blob(self, data: bytes, *repositories: str) -> Digest:
        """Bring a blob in, and have repositories offer it."""
        digest = Digest.of(data)
        with suppress(AlreadyExists):
            write_blob(self.store, "test", data, size=len(data), expected=digest)
        for name in repositories:
            with self.metadata.repositories.keeping(digest):
                self.metadata.repositories.add_blob(name, digest, len(data))
        return digest

    def has(self, digest: Digest) -> bool:
        return digest in set(self.store.digests())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "store")
    yield world
    world.metadata.close()
    world.store.close()


def test_what_a_repository_dropped_goes_and_what_was_never_in_one_stays(world: World) -> None:
    ingested = world.blob(b"ingested")
    dropped = world.blob(b"dropped", "a")
    kept = world.blob(b"kept", "a", "b")
    world.metadata.repositories.delete_blob("a", dropped)
    world.metadata.repositories.delete_blob("a", kept)

    assert world.upkeep.collect_dropped() == 1

    assert [world.has(digest) for digest in (ingested, dropped, kept)] == [True, False, True]
    assert world.upkeep.collect_dropped() == 0


def test_what_a_forgotten_repository_had_goes(world: World) -> None:
    digests = [world.blob(bytes([number]), "a") for number in range(5)]

    world.metadata.repositories.forget("a")

    assert world.upkeep.collect_dropped() == 5
    assert not any(map(world.has, digests))


def test_what_is_offered_again_stays(world: World) -> None:
    digest = world.blob(b"again", "a")
    world.metadata.repositories.delete_blob("a", digest)
    world.blob(b"again", "b")

    assert world.upkeep.collect_dropped() == 0
    assert world.has(digest)


def test_what_something_else_needs_stays_until_it_does_not(world: World) -> None:
    digest = world.blob(b"needed", "a")
    with world.metadata.leased("test") as content:
        content.info(digest)
        content.reader(digest).close()
        world.metadata.repositories.delete_blob("a", digest)

        assert world.upkeep.collect_dropped() == 0
        assert world.has(digest)

    assert world.upkeep.collect_dropped() == 1
    assert not world.has(digest)


def test_an_empty_place_has_nothing_to_do(world: World) -> None:
    with world.upkeep.turn(0) as ours:
        assert not ours
    assert world.upkeep.collect_dropped() == 0
    assert list(world.upkeep.sweep(grace=0)) == []
    assert not world.root.exists()


def test_one_has_its_turn_and_the_others_wait_for_the_interval(world: World) -> None:
    world.blob(b"x", "a")
    other = Upkeep(world.metadata)

    with world.upkeep.turn(60) as ours, other.turn(60) as theirs:
        assert (ours, theirs) == (True, False)
    with other.turn(60) as theirs:
        assert not theirs
    world.clock += 61
    with other.turn(60) as theirs:
        assert theirs


@pytest.mark.parametrize("text", [b"", b"nonsense\n", b"began tomorrow\n", b"began 9e99\n", b"\xff" * 9000])
def test_a_lock_file_with_nonsense_holds_nobody_up(world: World, text: bytes) -> None:
    world.blob(b"x", "a")
    (world.root / LOCK).write_bytes(text)

    with world.upkeep.turn(60) as ours:
        assert ours


def test_the_room_of_the_disk_is_told(world: World) -> None:
    assert world.upkeep.space() is None
    world.blob(b"x", "a")

    space = world.upkeep.space()

    assert space is not None
    assert 0 < space[0] < space[1]


def test_what_something_else_needs_keeps_nobody_else_from_being_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distore.metadata.upkeep._MOST", 2)
    digests = sorted(world.blob(b"%d" % number, "a") for number in range(7))
    with world.metadata.leased("test") as content:
        for digest in digests[:4]:
            content.reader(digest).close()
        world.metadata.repositories.forget("a")

        assert world.upkeep.collect_dropped() == 3

    assert [world.has(digest) for digest in digests] == [True] * 4 + [False] * 3


def test_a_damaged_row_of_what_was_dropped_holds_nothing_up(world: World) -> None:
    dropped = world.blob(b"dropped", "a")
    world.store.database.change("INSERT INTO repository_dropped VALUES ('default', '../../etc/passwd')")
    world.metadata.repositories.delete_blob("a", dropped)

    assert world.upkeep.collect_dropped() == 1
    assert world.store.database.query("SELECT * FROM repository_dropped") == []


def test_what_the_collector_removes_is_not_looked_at_again(world: World) -> None:
    dropped = world.blob(b"dropped", "a")
    world.metadata.repositories.delete_blob("a", dropped)

    world.metadata.collect()

    assert not world.has(dropped)
    assert world.store.database.query("SELECT * FROM repository_dropped") == []


def test_each_namespace_has_its_own_turns(world: World) -> None:
    world.blob(b"x", "a")
    other = Upkeep(world.metadata.over(world.store.view(namespace="team")))

    with world.upkeep.turn(60) as ours, other.turn(60) as theirs:
        assert (ours, theirs) == (True, True)
    with other.turn(60) as theirs:
        assert not theirs


def test_every_sweep_heeds_the_longest_grace_that_a_server_promised(world: World) -> None:
    digest = world.blob(b"lonely", "a")
    for grace in (60.0, 21600.0):
        world.upkeep.promise(grace)
    world.clock += 21600

    assert world.upkeep.promised() == 21600.0
    assert list(world.upkeep.sweep(grace=0)) == []
    world.metadata.collect()
    assert world.metadata.repositories.has("a", digest)

    world.clock += 60
    assert [one.digest for one in world.upkeep.sweep(grace=0)] == [digest]


def test_a_promise_ends_when_nobody_renews_it(world: World) -> None:
    world.blob(b"x", "a")
    world.upkeep.promise(60.0)

    world.clock += 7200
    assert world.upkeep.promised() == 60.0
    world.clock += 60
    assert world.upkeep.promised() == 0.0
    world.upkeep.promise(30.0)
    assert [row[0] for row in world.store.database.query("SELECT key FROM settings")] == [
        "keep.grace.30.000000"
    ]


def test_a_promise_is_written_once_an_hour(world: World) -> None:
    world.blob(b"x", "a")
    world.upkeep.promise(60.0)
    version = world.store.database.version()

    world.clock += 3599
    world.upkeep.promise(60.0)
    assert world.store.database.version() == version
    world.clock += 1
    world.upkeep.promise(60.0)
    assert world.store.database.version() != version


@pytest.mark.parametrize(
    "row", [("keep.grace.x", "1"), ("keep.grace.60", "x"), ("keep.grace.6e999", "1e999")]
)
def test_a_promise_that_is_none_does_not_count(world: World, row: tuple[str, str]) -> None:
    world.blob(b"x", "a")
    world.store.database.change("INSERT INTO settings VALUES (?, ?)", *row)

    assert world.upkeep.promised() == 0.0
