"""Names of images in the store's database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.errors import NotFound, UnsupportedStore
from distore.metadata.images import Images
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

ONE = Descriptor(media_type=mediatypes.OCI_INDEX, digest=Digest.of(b"one"), size=3)
TWO = Descriptor(media_type=mediatypes.DOCKER_MANIFEST, digest=Digest.of(b"twelve"), size=6)
NAME = "docker.io/library/redis:latest"


class Clock:
    """Seconds since the epoch that pass when told."""

    def __init__(self) -> None:
        self.now = 1_767_323_045.125

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def images(store: LocalStore, clock: Clock) -> Images:
    return Images(store.records, now=clock)


def test_a_name_stands_for_what_it_was_given_to(images: Images, clock: Clock) -> None:
    put = images.put(NAME, ONE)

    assert images.get(NAME) == put
    assert (put.name, put.target) == (NAME, ONE)
    assert put.created == put.updated == datetime.fromtimestamp(clock.now, UTC)


def test_a_name_that_moves_keeps_the_time_it_was_made(images: Images, clock: Clock) -> None:
    first = images.put(NAME, ONE)
    clock.now += 60

    moved = images.put(NAME, TWO)

    assert moved.target == TWO
    assert (moved.created, (moved.updated - first.updated).total_seconds()) == (first.created, 60)
    assert list(images.list()) == [moved]


def test_names_are_listed_in_order(images: Images) -> None:
    for name in ("c/c:1", "a/a:1", "b/b:1"):
        images.put(name, ONE)

    assert [image.name for image in images.list()] == ["a/a:1", "b/b:1", "c/c:1"]


def test_a_name_that_is_not_there_is_not_found(images: Images, store: LocalStore) -> None:
    with pytest.raises(NotFound, match=f"image {NAME}: not in the store"):
        images.get(NAME)
    assert list(images.list()) == []
    assert not store.exists()

    with pytest.raises(NotFound):
        images.delete(NAME)


def test_a_name_that_is_deleted_is_gone(images: Images) -> None:
    images.put(NAME, ONE)

    images.delete(NAME)

    assert list(images.list()) == []


def test_another_process_sees_the_names(images: Images, store: LocalStore, clock: Clock) -> None:
    images.put(NAME, ONE)

    assert Images(LocalStore(store.root).records, now=clock).get(NAME).target == ONE


def test_sizes_and_names_of_any_kind_come_back_as_they_were(images: Images) -> None:
    large = Descriptor(media_type="a/b", digest=Digest.of(b""), size=2**63 - 1)

    images.put("x'; DROP TABLE images; --", large)

    assert [(image.name, image.target) for image in images.list()] == [("x'; DROP TABLE images; --", large)]


def test_a_database_from_before_images_is_brought_up_to_date_by_the_first_name(
    images: Images, store: LocalStore, clock: Clock
) -> None:
    with store.writer("r") as writer:
        writer.write(b"x")
        digest = writer.commit(labels={"a": "b"})
    path = store.paths.database
    store.close()
    with closing(sqlite3.connect(path)) as older:
        older.executescript("DROP TABLE images; PRAGMA user_version = 1")

    assert list(images.list()) == []
    with pytest.raises(NotFound):
        images.get(NAME)
    images.put(NAME, ONE)

    assert images.get(NAME).target == ONE
    assert store.info(digest).labels == {"a": "b"}


def test_a_newer_database_is_left_alone(store: LocalStore, images: Images) -> None:
    images.put(NAME, ONE)
    store.close()
    with closing(sqlite3.connect(store.paths.database)) as newer:
        newer.execute("PRAGMA user_version = 99")

    assert Path(store.paths.database).exists()
    with pytest.raises(UnsupportedStore):
        LocalStore(store.root)
