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
