"""NamespaceSuite: what namespaces share and what they keep apart, one test a sentence.

Subclass it and give the fixtures that it declares. A blob is the same bytes everywhere, and a
namespace sees those that it has brought, or that another lets it have.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import pytest

from distore import errors
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.testing.content_contract import BLOB, DIGEST, OTHER, put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.images.image import ImageStore
    from distore.leases import LeaseManager
    from distore.testing.content_contract import FullStore

SHAREABLE = "containerd.io/namespace.shareable"
DEFAULT = "default"
TARGET = Descriptor(media_type=mediatypes.OCI_INDEX, digest=DIGEST, size=len(BLOB))


class NamespaceManager(Protocol):
    """The namespaces of a store."""

    def list(self) -> Sequence[str]: ...
    def create(self, name: str, /, *, labels: Mapping[str, str] | None = None) -> None: ...
    def labels(self, name: str, /) -> dict[str, str]: ...
    def set_label(self, name: str, key: str, value: str, /) -> None: ...
    def delete(self, name: str, /) -> None: ...
    def policy(self) -> str: ...
    def set_policy(self, policy: str, /) -> None: ...


class View(Protocol):
    """All that one namespace has."""

    @property
    def content(self) -> FullStore: ...
    @property
    def images(self) -> ImageStore: ...
    @property
    def leases(self) -> LeaseManager: ...


def seen(view: View) -> set[Digest]:
    """The blobs of a namespace, by every way to ask."""
    digests = {info.digest for info in view.content.walk()}
    for digest in (DIGEST, OTHER):
        if digest in digests:
            view.content.reader(digest).close()
            view.content.info(digest)
        else:
            for ask in (view.content.reader, view.content.info, view.content.delete):
                with pytest.raises(errors.NotFound):
                    ask(digest)
    return digests


class NamespaceFixtures:
    """What a subclass gives."""

    @pytest.fixture
    def on(self) -> Callable[[str], View]:
        """A new handle on the store as a namespace sees it, as another process has; always the same
        store, empty at first."""
        raise NotImplementedError

    @pytest.fixture
    def namespaces(self) -> NamespaceManager:
        """Its namespaces."""
        raise NotImplementedError

    @pytest.fixture
    def stored(self) -> Callable[[], list[str]]:
        """The digests whose bytes the store has, once for each time it has them."""
        raise NotImplementedError


class ContentSuite(NamespaceFixtures):
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


class NamespaceSuite(ContentSuite, RaceSuite):
    """The whole contract."""

    def test_there_is_a_default_one_and_nothing_is_made_by_looking(
        self, namespaces: NamespaceManager
    ) -> None:
        assert list(namespaces.list()) == [DEFAULT]
        assert (namespaces.labels(DEFAULT), namespaces.policy()) == ({}, "shared")
        for ask in (namespaces.labels, namespaces.delete):
            with pytest.raises(errors.NotFound, match="one"):
                ask("one")
        with pytest.raises(errors.NotFound, match="one"):
            namespaces.set_label("one", "a", "b")
        namespaces.set_policy("shared")

    def test_one_comes_into_being_with_its_first_use(
        self, on: Callable[[str], View], namespaces: NamespaceManager
    ) -> None:
        on("unused")
        put(on("blob").content, BLOB)
        on("image").images.put("docker.io/library/a:1", TARGET)
        on("lease").leases.create("work")
        with on("ingest").content.writer("r") as writer:
            writer.write(b"1")

        assert list(namespaces.list()) == ["blob", DEFAULT, "image", "ingest", "lease"]
        for name in ("blob", "image", "lease", "ingest"):
            assert namespaces.labels(name) == {}
            with pytest.raises(errors.AlreadyExists, match=name):
                namespaces.create(name)
            with pytest.raises(errors.FailedPrecondition, match=f"namespace {name}: has 1 {name};"):
                namespaces.delete(name)

    def test_one_that_was_made_stays_until_it_is_deleted(self, namespaces: NamespaceManager) -> None:
        namespaces.create("one", labels={"a": "b"})

        assert list(namespaces.list()) == [DEFAULT, "one"]
        assert namespaces.labels("one") == {"a": "b"}
        with pytest.raises(errors.AlreadyExists, match="one"):
            namespaces.create("one")
        namespaces.delete("one")
        assert list(namespaces.list()) == [DEFAULT]
        namespaces.create("one")
        assert namespaces.labels("one") == {}

    def test_the_default_one_is_neither_made_nor_deleted(self, namespaces: NamespaceManager) -> None:
        with pytest.raises(errors.AlreadyExists):
            namespaces.create(DEFAULT)
        with pytest.raises(errors.FailedPrecondition):
            namespaces.delete(DEFAULT)

    @pytest.mark.parametrize("name", ["one", DEFAULT])
    def test_labels_are_set_and_removed_one_by_one(self, namespaces: NamespaceManager, name: str) -> None:
        if name != DEFAULT:
            namespaces.create(name)

        namespaces.set_label(name, "a", "1")
        namespaces.set_label(name, "b", "2")
        namespaces.set_label(name, "a", "3")
        assert namespaces.labels(name) == {"a": "3", "b": "2"}

        namespaces.set_label(name, "b", "")
        namespaces.set_label(name, "c", "")
        assert namespaces.labels(name) == {"a": "3"}
        with pytest.raises(errors.InvalidArgument):
            namespaces.set_label(name, "a", "x" * 5000)

    def test_a_policy_is_one_of_two(self, namespaces: NamespaceManager) -> None:
        namespaces.set_policy("isolated")
        assert namespaces.policy() == "isolated"

        with pytest.raises(errors.InvalidArgument, match="shared or isolated"):
            namespaces.set_policy("private")
        assert namespaces.policy() == "isolated"

        namespaces.set_policy("shared")
        assert namespaces.policy() == "shared"

    def test_images_and_leases_are_of_one_namespace(self, on: Callable[[str], View]) -> None:
        names = ("one", "two", DEFAULT)
        for name in names:
            on(name).images.create("docker.io/library/a:1", TARGET, labels={"of": name})
            on(name).leases.create("work", labels={"of": name})

        on("two").images.delete("docker.io/library/a:1")
        on("one").leases.delete("work")

        assert [[image.labels["of"] for image in on(name).images.list()] for name in names] == [
            ["one"],
            [],
            [DEFAULT],
        ]
        assert [[lease.labels["of"] for lease in on(name).leases.list()] for name in names] == [
            [],
            ["two"],
            [DEFAULT],
        ]
