"""Images in the store's database: what is beyond the contract (tests/conformance/test_images.py)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.errors import DataLoss, NotFound, UnsupportedStore
from distore.metadata.db import Metadata
from distore.metadata.images import Images
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

ONE = Descriptor(media_type=mediatypes.OCI_INDEX, digest=Digest.of(b"one"), size=3)
NAME = "docker.io/library/redis:latest"


@pytest.fixture
def images(store: LocalStore) -> Images:
    return Metadata(store, command="dist test").images


def test_asking_makes_no_store(images: Images, store: LocalStore) -> None:
    with pytest.raises(NotFound):
        images.get(NAME)
    with pytest.raises(NotFound):
        images.delete(NAME)
    assert list(images.list()) == []

    assert not Path(store.root).exists()


def test_a_database_from_before_images_is_brought_up_to_date_by_the_first_name(
    images: Images, store: LocalStore
) -> None:
    with store.writer("r") as writer:
        writer.write(b"x")
        digest = writer.commit()
    Path(store.paths.database).unlink(missing_ok=True)
    with closing(sqlite3.connect(store.paths.database)) as older:
        older.executescript(
            "CREATE TABLE content (digest TEXT PRIMARY KEY, updated INTEGER, verified INTEGER) WITHOUT ROWID;"
            "CREATE TABLE content_labels (digest TEXT, key TEXT, value TEXT, PRIMARY KEY (digest, key))"
            " WITHOUT ROWID;"
            f"INSERT INTO content_labels VALUES ('{digest}', 'a', 'b');"
            "PRAGMA application_id = 0x64697374; PRAGMA user_version = 1"
        )

    assert list(images.list()) == []
    images.put(NAME, ONE)

    assert images.get(NAME).target == ONE
    assert store.info(digest).labels == {"a": "b"}


def test_a_newer_database_is_left_alone(store: LocalStore, images: Images) -> None:
    images.put(NAME, ONE)
    store.close()
    with closing(sqlite3.connect(store.paths.database)) as newer:
        newer.execute("PRAGMA user_version = 99")

    with pytest.raises(UnsupportedStore):
        LocalStore(store.root)


@pytest.mark.parametrize(
    "damage", ["digest = 'sha256:x'", "annotations = '{'", "size = -1", "media_type = char(7)"]
)
def test_a_damaged_record_is_told_and_can_be_forgotten(
    store: LocalStore, images: Images, damage: str
) -> None:
    images.put(NAME, ONE)
    store.database.change(f"UPDATE images SET {damage}")

    with pytest.raises(DataLoss, match=f"image {NAME}: its record is damaged"):
        images.get(NAME)
    with pytest.raises(DataLoss):
        list(images.list())
    images.delete(NAME)

    assert list(images.list()) == []


def test_a_running_collection_is_told_what_gained_a_name_or_a_label(
    store: LocalStore, images: Images
) -> None:
    images.put("a:1", ONE)
    store.database.change("INSERT INTO gc_run VALUES (0)")

    images.put("b:1", ONE)
    images.update(images.get("a:1"), "labels.x")
    images.create("c:1", ONE, labels={"containerd.io/gc.ref.content": str(ONE.digest)})

    touched = store.database.query("SELECT DISTINCT kind, key FROM gc_touched ORDER BY key")
    assert touched == [("image", "a:1"), ("image", "b:1"), ("image", "c:1")]
