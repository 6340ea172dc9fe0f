"""Labels in SQLite: many writers, read-only readers, nothing opened before it is needed."""

from __future__ import annotations

import threading
from pathlib import Path

from distore.content import blobs
from distore.content.local.store import LocalStore


def test_changes_from_many_sides_all_count(store: LocalStore) -> None:
    digest = blobs.write_blob(store, "r", b"x")

    def change(name: str) -> None:
        other = LocalStore(store.root)
        info = other.info(digest)
        for n in range(5):
            other.update(info._replace(labels={f"{name}{n}": "1"}), f"labels.{name}{n}")
        other.close()

    threads = [threading.Thread(target=change, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.info(digest).labels == {f"{name}{n}": "1" for name in "abcdef" for n in range(5)}
    store.close()


def test_a_store_without_labels_has_no_database(store: LocalStore) -> None:
    digest = blobs.write_blob(store, "r", b"x")
    store.info(digest)
    list(store.walk("labels.a==b"))
    store.delete(digest)

    assert not (Path(store.root) / "dist.db").exists()


def test_a_listing_without_labels_does_not_open_the_database(store: LocalStore) -> None:
    digest = blobs.write_blob(store, "r", b"x")
    store.update(store.info(digest)._replace(labels={"a": "b"}), "labels")
    store.close()
    other = LocalStore(store.root)

    (info,) = other.files()

    assert (info.digest, info.labels) == (digest, {})
    assert other.database._connection is None
