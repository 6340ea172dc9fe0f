"""The part of ContentSuite about committed blobs."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from distore import errors
from distore.content.store import Info
from distore.oci.digest import Digest
from distore.testing.content_contract import BLOB, DIGEST, OTHER, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.testing.content_contract import FullStore


class BlobSuite:
    """Reading, information, labels, walking, deleting."""

    def test_reads_are_positioned_and_end_at_the_end(self, store: FullStore) -> None:
        put(store, b"0123456789")
        space = bytearray(4)

        with store.reader(Digest.of(b"0123456789")) as reader:
            assert reader.read_at(3, 4) == b"456"
            assert reader.read_at(100, 8) == b"89"
            assert reader.read_at(5, 10) == reader.read_at(5, 99) == reader.read_at(0, 0) == b""
            assert reader.readinto_at(space, 8) == 2
            assert bytes(space[:2]) == b"89"
            assert reader.readinto_at(space, 10) == 0
            for length, offset in ((-1, 0), (1, -1)):
                with pytest.raises(errors.OutOfRange):
                    reader.read_at(length, offset)

    def test_an_open_reader_outlives_a_delete(self, store: FullStore) -> None:
        put(store, BLOB)
        with store.reader(DIGEST) as reader:
            store.delete(DIGEST)

            assert reader.read_at(len(BLOB), 0) == BLOB

    def test_one_reader_serves_many_threads(self, store: FullStore) -> None:
        data = random.Random(3).randbytes(200_000)
        digest = put(store, data)
        wrong: list[int] = []
        with store.reader(digest) as reader:

            def work(seed: int) -> None:
                rng = random.Random(seed)
                for _ in range(50):
                    at = rng.randrange(len(data))
                    if reader.read_at(1000, at) != data[at : at + 1000]:
                        wrong.append(at)

            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert wrong == []

    def test_a_closed_reader_refuses_to_read(self, store: FullStore) -> None:
        put(store, BLOB)
        reader = store.reader(DIGEST)
        reader.close()
        reader.close()

        with pytest.raises(errors.FailedPrecondition):
            reader.read_at(1, 0)

    def test_a_missing_blob_is_not_found(self, store: FullStore) -> None:
        now = datetime.now(UTC)
        calls: list[Callable[[], object]] = [
            lambda: store.info(OTHER),
            lambda: store.reader(OTHER),
            lambda: store.delete(OTHER),
            lambda: store.update(Info(OTHER, 0, now, now, {}), "labels"),
        ]
        for call in calls:
            with pytest.raises(errors.NotFound, match=f"^content {OTHER}: not found"):
                call()

    def test_a_deleted_blob_is_gone_with_its_labels(self, store: FullStore) -> None:
        put(store, BLOB, labels={"a": "1"})

        store.delete(DIGEST)
        put(store, BLOB)

        assert store.info(DIGEST).labels == {}

    def test_labels_of_the_commit_are_kept(self, store: FullStore, reopen: Callable[[], FullStore]) -> None:
        put(store, BLOB, labels={"a": "1", "b": "zwei"})

        info = reopen().info(DIGEST)

        assert info.labels == {"a": "1", "b": "zwei"}
        assert (info.digest, info.size) == (DIGEST, len(BLOB))

    def test_a_label_without_a_value_is_none(self, store: FullStore) -> None:
        put(store, BLOB, labels={"a": "1", "b": ""})

        assert store.info(DIGEST).labels == {"a": "1"}

    def test_labels_change_by_field_path(self, store: FullStore, reopen: Callable[[], FullStore]) -> None:
        put(store, BLOB, labels={"a": "1", "b": "2"})
        info = store.info(DIGEST)

        one = store.update(info._replace(labels={"b": "3", "c": "no"}), "labels.b")
        removed = store.update(info._replace(labels={"b": ""}), "labels.b")
        dotted = store.update(info._replace(labels={"x.y/z": "4"}), "labels.x.y/z")
        replaced = store.update(info._replace(labels={"d": "5"}), "labels")
        without = store.update(info._replace(labels={"e": "6"}))

        assert one.labels == {"a": "1", "b": "3"}
        assert removed.labels == {"a": "1"}
        assert dotted.labels == {"a": "1", "x.y/z": "4"}
        assert replaced.labels == {"d": "5"}
        assert without.labels == reopen().info(DIGEST).labels == {"e": "6"}
        assert without.created == info.created <= without.updated

    @pytest.mark.parametrize("path", ["size", "digest", "label", "labels."])
    def test_only_labels_can_be_updated(self, store: FullStore, path: str) -> None:
        put(store, BLOB, labels={"a": "1"})

        with pytest.raises(errors.InvalidArgument, match="field path"):
            store.update(store.info(DIGEST)._replace(labels={}), path)

        assert store.info(DIGEST).labels == {"a": "1"}

    def test_a_label_of_4096_bytes_is_the_longest(self, store: FullStore) -> None:
        put(store, BLOB, labels={"k": "v" * 4095})
        info = store.info(DIGEST)

        with pytest.raises(errors.InvalidArgument, match="4097"):
            store.update(info._replace(labels={"k": "v" * 4096}), "labels")
        with store.writer("r") as writer:
            writer.write(b"x")
            with pytest.raises(errors.InvalidArgument):
                writer.commit(labels={"k": "ü" * 2048})

        assert store.info(DIGEST).labels == {"k": "v" * 4095}
        assert store.status("r").offset == 1

    def test_walk_gives_what_one_of_the_filters_matches(self, store: FullStore) -> None:
        small = put(store, b"1", labels={"app": "web", "tier": "front"})
        large = put(store, b"2" * 5000, labels={"app": "db", "very complex label": "x,y"})
        plain = put(store, b"3")

        def walk(*filters: str) -> set[Digest]:
            return {info.digest for info in store.walk(*filters)}

        assert walk() == {small, large, plain}
        assert walk("labels.app==web") == {small}
        assert walk("labels.app") == {small, large}
        assert walk("labels.app!=web") == {large, plain}
        assert walk("labels.app~=^(web|db)$", "size>4999") == {small, large}
        assert walk("labels.app==web,size>10") == set()
        assert walk('labels."very complex label"=="x,y"') == {large}
        assert walk("size<=1") == {small, plain}
        assert walk(f"digest~=^{plain[:20]}") == {plain}

    def test_a_bad_filter_is_refused_at_the_call(self, store: FullStore) -> None:
        for call in (store.walk, store.statuses):
            with pytest.raises(errors.InvalidArgument, match="filter"):
                call("==")
