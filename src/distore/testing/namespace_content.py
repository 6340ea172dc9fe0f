"""The parts of NamespaceSuite about blobs and ingests, and about what happens at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from distore import errors
from distore.oci.digest import Digest
from distore.testing.content_contract import BLOB, DIGEST, OTHER, put
from distore.testing.namespace_contract import DEFAULT, SHAREABLE, NamespaceFixtures, seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.testing.namespace_contract import NamespaceManager, View


class SharingSuite(NamespaceFixtures):
    """Blobs and ingests."""

    @pytest.mark.parametrize(("owner", "other"), [("one", "two"), ("one", DEFAULT), (DEFAULT, "two")])
    def test_a_blob_is_not_seen_elsewhere(self, on: Callable[[str], View], owner: str, other: str) -> None:
        put(on("two").content, b"something")  # there are other namespaces
        put(on(owner).content, BLOB)

        assert DIGEST in seen(on(owner))
        assert DIGEST not in seen(on(other))

    @pytest.mark.parametrize(("first", "second"), [("one", "two"), ("one", DEFAULT), (DEFAULT, "two")])
    @pytest.mark.parametrize("policy", ["shared", "isolated"])
    def test_bytes_are_there_once(
        self,
        on: Callable[[str], View],
        namespaces: NamespaceManager,
        stored: Callable[[], list[str]],
        first: str,
        second: str,
        policy: str,
    ) -> None:
        namespaces.set_policy(policy)
        put(on(first).content, BLOB, ref="a")

        put(on(second).content, BLOB, ref="b")

        assert stored() == [DIGEST]
        assert seen(on(first)) == seen(on(second)) == {DIGEST}
        for name in (first, second):
            with on(name).content.reader(DIGEST) as reader:
                assert reader.read_at(len(BLOB), 0) == BLOB

    @pytest.mark.parametrize(("first", "second"), [("one", "two"), ("one", DEFAULT), (DEFAULT, "two")])
    def test_each_has_labels_of_its_own(self, on: Callable[[str], View], first: str, second: str) -> None:
        one, two = on(first).content, on(second).content
        put(one, BLOB, labels={"a": "first", "x": "y"})
        put(two, BLOB, labels={"a": "second"})

        assert one.info(DIGEST).labels == {"a": "first", "x": "y"}
        assert two.info(DIGEST).labels == {"a": "second"}

        two.update(two.info(DIGEST)._replace(labels={"b": "c"}))

        assert (two.info(DIGEST).labels, one.info(DIGEST).labels) == ({"b": "c"}, {"a": "first", "x": "y"})
        assert [info.digest for info in one.walk("labels.a==first")] == [DIGEST]
        assert list(two.walk("labels.a")) == []

    @pytest.mark.parametrize(("first", "second"), [("one", "two"), ("one", DEFAULT), (DEFAULT, "two")])
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_the_bytes_go_with_the_last_that_deletes_them(
        self,
        on: Callable[[str], View],
        stored: Callable[[], list[str]],
        first: str,
        second: str,
        order: tuple[int, int],
    ) -> None:
        views = (on(first), on(second))
        for view in views:
            put(view.content, BLOB, labels={"a": "b"})
        early, late = (views[at] for at in order)

        early.content.delete(DIGEST)

        assert (seen(early), seen(late), stored()) == (set(), {DIGEST}, [DIGEST])
        assert late.content.info(DIGEST).labels == {"a": "b"}
        late.content.delete(DIGEST)
        assert (seen(early), seen(late), stored()) == (set(), set(), [])

    def test_a_blob_that_comes_again_has_no_labels_of_the_past(self, on: Callable[[str], View]) -> None:
        one, two = on("one").content, on("two").content
        for store in (one, two):
            put(store, BLOB, labels={"a": "b"})
        one.delete(DIGEST)

        put(one, BLOB)

        assert (one.info(DIGEST).labels, two.info(DIGEST).labels) == ({}, {"a": "b"})

    def test_when_shared_a_promised_digest_is_had_without_its_bytes(self, on: Callable[[str], View]) -> None:
        put(on("one").content, BLOB, labels={"a": "b"})
        two = on("two")

        with pytest.raises(errors.AlreadyExists, match=DIGEST) as caught:
            two.content.writer("r", expected=DIGEST)

        assert caught.value.subject == DIGEST
        assert seen(two) == {DIGEST}
        assert two.content.info(DIGEST).labels == {}
        assert list(two.content.statuses()) == []

    @pytest.mark.parametrize(("owner", "other"), [("one", "two"), ("one", DEFAULT), (DEFAULT, "two")])
    def test_when_isolated_the_bytes_must_be_brought(
        self, on: Callable[[str], View], namespaces: NamespaceManager, owner: str, other: str
    ) -> None:
        namespaces.set_policy("isolated")
        put(on("two").content, b"something")
        put(on(owner).content, BLOB)
        view = on(other)

        with view.content.writer("r", expected=DIGEST) as writer:
            assert DIGEST not in seen(view)
            writer.write(BLOB)
            writer.commit(labels={"a": "b"})

        assert DIGEST in seen(view)
        assert view.content.info(DIGEST).labels == {"a": "b"}
        assert on(owner).content.info(DIGEST).labels == {}

    def test_when_isolated_wrong_bytes_bring_nothing(
        self, on: Callable[[str], View], namespaces: NamespaceManager
    ) -> None:
        namespaces.set_policy("isolated")
        put(on("one").content, BLOB)

        with on("two").content.writer("r", expected=DIGEST) as writer:
            writer.write(b"x" * len(BLOB))
            with pytest.raises(errors.DigestMismatch):
                writer.commit()

        assert seen(on("two")) == set()

    @pytest.mark.parametrize("owner", ["one", DEFAULT])
    def test_a_namespace_labelled_shareable_gives_all_the_same(
        self, on: Callable[[str], View], namespaces: NamespaceManager, owner: str
    ) -> None:
        namespaces.set_policy("isolated")
        put(on(owner).content, BLOB)
        put(on("three").content, b"other")
        namespaces.set_label(owner, SHAREABLE, "true")

        with pytest.raises(errors.AlreadyExists):
            on("two").content.writer("r", expected=DIGEST)
        on("two").content.writer("s", expected=OTHER).close()

        assert seen(on("two")) == {DIGEST}
        namespaces.set_label(owner, SHAREABLE, "")
        on("four").content.writer("r", expected=DIGEST).close()
        assert seen(on("four")) == set()

    def test_a_blob_from_before_there_were_namespaces_stays_where_it_was(
        self, on: Callable[[str], View]
    ) -> None:
        put(on(DEFAULT).content, BLOB)
        put(on(DEFAULT).content, b"other")

        with pytest.raises(errors.AlreadyExists):
            on("two").content.writer("r", expected=DIGEST)

        assert seen(on(DEFAULT)) == {DIGEST, OTHER}
        assert seen(on("two")) == {DIGEST}
        on("two").content.delete(DIGEST)
        assert seen(on(DEFAULT)) == {DIGEST, OTHER}

    def test_ingests_of_one_ref_are_two(self, on: Callable[[str], View]) -> None:
        names = ("one", "two", DEFAULT)
        views = {name: on(name).content for name in names}

        with views["one"].writer("r") as a, views["two"].writer("r") as b, views[DEFAULT].writer("r") as c:
            for length, writer in enumerate((a, b, c), start=1):
                writer.write(b"x" * length)

        assert [views[name].status("r").offset for name in names] == [1, 2, 3]
        for length, name in enumerate(names, start=1):
            assert [status.offset for status in views[name].statuses()] == [length]
            assert [status.offset for status in views[name].statuses("ref==r")] == [length]
        views["two"].abort("r")
        with pytest.raises(errors.NotFound):
            views["two"].status("r")
        with pytest.raises(errors.NotFound):
            views["two"].abort("r")
        with views["one"].writer("r") as writer:
            writer.write(b"y")
            assert writer.commit() == Digest.of(b"xy")
        assert [len(list(views[name].statuses())) for name in names] == [0, 0, 1]

    def test_an_ingest_goes_on_in_another_process(self, on: Callable[[str], View]) -> None:
        with on("one").content.writer("r", total=4, expected=Digest.of(b"1234")) as writer:
            writer.write(b"12")

        with on("one").content.writer("r") as writer:
            writer.write(b"34")
            writer.commit()

        assert seen(on("one")) == {Digest.of(b"1234")}

    def test_nobody_follows_what_another_namespace_writes(self, on: Callable[[str], View]) -> None:
        with on("one").content.writer("r"):
            assert on("two").content.follow("r", timeout=0) is None

    @pytest.mark.parametrize("name", ["", "a/b", "-a", "a..b", "ä", "a" * 77, "a\0b"])
    def test_a_bad_name_is_refused(
        self, on: Callable[[str], View], namespaces: NamespaceManager, name: str
    ) -> None:
        with pytest.raises(errors.InvalidArgument):
            namespaces.create(name)
        assert list(namespaces.list()) == [DEFAULT]


class RaceSuite(NamespaceFixtures):
    """What happens at once; the handles are as apart as those of processes."""

    ROUNDS = 25

    @pytest.mark.slow
    @pytest.mark.parametrize("labels", [None, {"a": "b"}])
    def test_one_digest_committed_in_two_namespaces_at_once_is_in_both(
        self,
        on: Callable[[str], View],
        stored: Callable[[], list[str]],
        labels: dict[str, str] | None,
    ) -> None:
        views = [on(DEFAULT), on("one"), on("two")]
        together = threading.Barrier(len(views))
        blobs = [f"blob {n}".encode() for n in range(self.ROUNDS)]

        def commit(view: View) -> None:
            for blob in blobs:
                together.wait(30)
                put(view.content, blob, labels=labels)

        with ThreadPoolExecutor(len(views)) as pool:
            list(pool.map(commit, views))

        expected = {Digest.of(blob) for blob in blobs}
        assert sorted(stored()) == sorted(expected)
        for view in views:
            assert {info.digest for info in view.content.walk()} == expected
            assert all(info.labels == (labels or {}) for info in view.content.walk())

    @pytest.mark.slow
    @pytest.mark.parametrize(("keeper", "other"), [("one", "two"), ("one", DEFAULT), (DEFAULT, "two")])
    @pytest.mark.parametrize("policy", ["shared", "isolated"])
    def test_a_delete_beside_a_commit_loses_nothing(
        self,
        on: Callable[[str], View],
        namespaces: NamespaceManager,
        stored: Callable[[], list[str]],
        keeper: str,
        other: str,
        policy: str,
    ) -> None:
        namespaces.set_policy(policy)
        mine, theirs = on(keeper).content, on(other).content
        together = threading.Barrier(2)
        blobs = [f"blob {n}".encode() for n in range(self.ROUNDS)]

        def commit() -> None:
            for blob in blobs:
                together.wait(30)
                put(mine, blob)
                with mine.reader(Digest.of(blob)) as reader:
                    assert reader.read_at(100, 0) == blob

        def delete() -> None:
            for blob in blobs:
                put(theirs, blob)
                together.wait(30)
                theirs.delete(Digest.of(blob))

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(commit), pool.submit(delete)]:
                done.result()

        expected = {Digest.of(blob) for blob in blobs}
        assert {info.digest for info in mine.walk()} == expected
        assert list(theirs.walk()) == []
        assert sorted(stored()) == sorted(expected)
