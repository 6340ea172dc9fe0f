"""Namespaces beyond their contract: moments in between, and what strangers left."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.errors import NotFound, Unavailable
from distore.metadata.db import Metadata
from distore.oci.digest import Digest
from distore.testing.content_contract import BLOB, DIGEST, put


def on(root: str, namespace: str) -> LocalStore:
    return LocalStore(root, namespace=namespace)


def move_into(store: LocalStore) -> Callable[[], None]:
    """What a commit does to give BLOB its name."""
    path = Path(store.paths.blob(DIGEST))

    def move() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name("aside").write_bytes(BLOB)
        path.with_name("aside").rename(path)

    return move


@pytest.mark.parametrize("labels", [{}, {"a": "b"}])
def test_a_blob_on_its_way_into_another_namespace_is_not_taken_for_one_of_the_default_one(
    store: LocalStore, labels: dict[str, str]
) -> None:
    one, default = on(store.root, "one"), on(store.root, "default")
    move = move_into(one)
    seen: list[bool] = []

    def look() -> None:
        move()
        seen.append(default.visibility.sees(DIGEST))

    one.visibility.publish(DIGEST, labels, look)

    assert seen == [False]
    one.reader(DIGEST).close()


def test_beside_other_namespaces_a_blob_gets_its_name_within_a_transaction(store: LocalStore) -> None:
    put(on(store.root, "one"), b"something")
    move = move_into(store)

    def look() -> None:
        move()
        with (
            closing(sqlite3.connect(store.paths.database, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")

    store.visibility.publish(DIGEST, {}, look)

    store.reader(DIGEST).close()


def test_a_blob_that_the_first_other_namespace_deletes_under_a_commit_is_not_said_to_be_there(
    store: LocalStore,
) -> None:
    one = on(store.root, "one")
    move = move_into(store)

    def others_come_and_go() -> None:
        put(one, BLOB)
        move()
        one.delete(DIGEST)

    with pytest.raises(Unavailable, match=f"{DIGEST}.*try again"):
        store.visibility.publish(DIGEST, {}, others_come_and_go)

    for view in (store, one):
        with pytest.raises(NotFound):
            view.info(DIGEST)


def test_a_crash_between_the_move_and_the_record_gives_nobody_what_he_did_not_bring(
    store: LocalStore,
) -> None:
    one = on(store.root, "one")
    move = move_into(one)

    def crash() -> None:
        move()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.visibility.publish(DIGEST, {"a": "b"}, crash)

    assert list(store.walk()) == []
    assert put(store, BLOB) == DIGEST
    assert [info.digest for info in store.walk()] == [DIGEST]


def test_folders_without_data_are_no_ingests(store: LocalStore) -> None:
    namespaces = Metadata(store, command="test").namespaces
    namespaces.create("one")
    folder = Path(store.paths.ingests, "0" * 64)
    folder.mkdir(parents=True)
    (folder / "namespace").write_text("ghost")

    assert list(namespaces.list()) == ["default", "one"]
    namespaces.delete("one")


def test_many_blobs_do_not_make_the_list_slow(store: LocalStore) -> None:
    namespaces = Metadata(store, command="test").namespaces
    names = [f"n{number}" for number in range(5)]
    with store.database.transaction(durable=False) as connection:
        rows = [(Digest.of(str(n).encode()), name) for n in range(2000) for name in (*names, "default")]
        connection.executemany("INSERT INTO content (digest, namespace) VALUES (?, ?)", rows)
    plans: list[str] = []
    original = store.database.query

    def query(statement: str, *arguments: object) -> list[tuple[object, ...]]:
        if " content " in statement:
            plans.extend(str(row[3]) for row in original(f"EXPLAIN QUERY PLAN {statement}", *arguments))
        return original(statement, *arguments)

    store.database.query = query  # type: ignore[method-assign] # to look at the plans

    assert list(namespaces.list()) == ["default", *names]
    assert plans
    assert all("INDEX content_elsewhere" in plan for plan in plans)
    assert len(plans) <= len(names) + 1


def test_looking_makes_no_store(tmp_path: Path) -> None:
    metadata = Metadata(LocalStore(str(tmp_path / "none")), command="test")

    assert list(metadata.namespaces.list()) == ["default"]
    assert metadata.namespaces.policy() == "shared"
    with pytest.raises(NotFound):
        metadata.namespaces.delete("one")
    assert os.listdir(tmp_path) == []
