"""What repositories offer, and the collector."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from tests.unit.metadata.repository_world import World

from distore.errors import DiskFull, DistoreError, FailedPrecondition, ReadOnly, Unavailable
from distore.images.gclabels import GC_REF_CONTENT
from distore.metadata.collector import Collector
from distore.metadata.db import Metadata
from distore.metadata.dbinfo import problems
from distore.metadata.diskusage import totals
from distore.metadata.groupcommit import GroupCommit
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from distore.content.local.store import LocalStore

HOUR = 3600.0


@pytest.fixture
def world(store: LocalStore) -> Iterator[World]:
    world = World(store)
    yield world
    world.metadata.close()


def explain(world: World, digest: Digest) -> str:
    return str(next(world.metadata.collector.explain([digest])))


def test_what_a_repository_offers_stays_and_what_it_offers_no_more_goes(world: World) -> None:
    kept, gone = world.image("kept", "v1"), world.image("gone")
    world.clock.now += 2 * HOUR
    assert world.collect() == []

    world.repositories.delete_manifest("app", gone[0])

    assert world.collect() == sorted([f"content {gone[0]}", f"content {gone[1]}", f"offer app@{gone[1]}"])
    assert world.there() == set(kept)


def test_a_blob_of_two_repositories_goes_with_the_second(world: World) -> None:
    digest = world.blob(b"shared")
    world.repositories.mount("app", "other", digest)
    world.repositories.forget("app")
    assert world.collect() == []

    world.repositories.forget("other")
    assert world.collect() == [f"content {digest}"]


def test_what_is_offered_stands_for_itself_alone(world: World) -> None:
    layer = world.bring(b"layer")
    manifest = world.bring(b"labelled", {f"{GC_REF_CONTENT}.l.0": layer})
    with world.repositories.keeping(manifest):
        world.repositories.add_blob("app", manifest, 8)

    assert world.collect() == [f"content {layer}"]


def test_a_blob_that_no_manifest_came_to_name_is_offered_for_an_hour(world: World) -> None:
    digest = world.blob(b"lonely")
    world.clock.now += HOUR - 1
    assert world.collect() == []
    world.clock.now += 20

    assert world.collect(dry_run=True) == sorted([f"content {digest}", f"offer app@{digest}"])
    assert world.repositories.has("app", digest)
    assert world.collect() == sorted([f"content {digest}", f"offer app@{digest}"])
    assert not world.repositories.has("app", digest)
    assert world.there() == set()


@pytest.mark.parametrize("how", ["use", "add", "mount"])
def test_whoever_was_told_of_a_blob_may_rely_on_it_for_an_hour(world: World, how: str) -> None:
    digest = world.blob(b"lonely")
    world.blob(b"lonely", "other")
    world.clock.now += HOUR - 1
    if how == "use":
        assert world.repositories.use("app", digest)
    elif how == "add":
        world.blob(b"lonely")
    else:
        assert world.repositories.mount("other", "app", digest)
    world.clock.now += HOUR - 1

    assert world.collect() == [f"offer other@{digest}"]
    assert world.repositories.has("app", digest)


def test_a_use_that_was_not_written_counts_all_the_same(world: World) -> None:
    digest = world.blob(b"lonely")
    world.clock.now += 9  # seconds: so young a use is not written again
    assert world.repositories.use("app", digest)
    world.clock.now += HOUR - 1

    assert list(world.metadata.repository_sweep(grace=HOUR)) == []


def test_a_sweep_takes_what_is_old_enough_of_its_namespace(world: World) -> None:
    image = world.image("kept")
    old = [world.blob(b"old %d" % number) for number in range(3)]
    world.clock.now += 100
    young = world.blob(b"young")
    other = World(world.store.view(namespace="team"))
    other.blob(b"theirs")

    def swept(grace: float, **options: bool) -> set[Digest]:
        found = list(world.metadata.repository_sweep(grace=grace, **options))
        assert {(each.namespace, each.repository) for each in found} <= {("default", "app")}
        return {each.digest for each in found}

    assert swept(50.0, dry_run=True) == set(old)
    assert swept(50.0) == set(old)
    assert swept(50.0) == set()
    assert swept(0.0) == {young}
    assert [world.repositories.has("app", digest) for digest in image] == [True, True]
    assert other.repositories.has("app", Digest.of(b"theirs"))
    other.metadata.close()


def test_a_sweep_looks_at_every_row_of_many_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distore.metadata.repositorysweep._PAGE", 3)
    monkeypatch.setattr("distore.metadata.repositorysweep._AT_ONCE", 2)
    lonely = {world.blob(b"%d" % number, f"r{number % 3}") for number in range(10)}
    images = [world.image(f"i{number}", repository=f"r{number % 3}") for number in range(4)]

    assert {each.digest for each in world.metadata.repository_sweep(grace=0.0)} == lonely
    assert all(world.repositories.owners(digest) for image in images for digest in image)


def test_what_is_kept_while_it_is_pushed_stays(world: World) -> None:
    digest = Digest.of(b"on its way")
    with world.repositories.keeping(digest):
        world.bring(b"on its way")
        with world.repositories.keeping(digest):  # somebody else pushes the same
            pass
        assert world.collect() == []
        world.repositories.add_blob("app", digest, 10)
    assert world.collect() == []
    assert world.store.database.query("SELECT count(*) FROM lease_resources") == [(0,)]


def test_what_was_kept_and_not_added_is_garbage(world: World) -> None:
    digest = Digest.of(b"broken off")
    with world.repositories.keeping(digest):
        world.bring(b"broken off")

    assert world.collect() == [f"content {digest}"]


def test_a_blob_that_was_removed_before_it_was_offered_is_refused(world: World) -> None:
    digest = world.bring(b"x")
    world.store.delete(digest)

    with pytest.raises(Unavailable, match="removed before app could offer it"):
        world.repositories.add_blob("app", digest, 1)
    assert world.repositories.names() == []


def test_a_lease_that_somebody_removed_by_force_is_made_again(world: World) -> None:
    with world.repositories.keeping(Digest.of(b"a")):
        (lease,) = world.metadata.leases.list()
        world.metadata.leases.delete(lease.id, force=True)
        with world.repositories.keeping(Digest.of(b"b")):
            world.bring(b"a")
            world.bring(b"b")

            assert world.collect() == []
            assert len(list(world.metadata.leases.list())) == 1


def test_the_lease_ends_with_close(world: World) -> None:
    with world.repositories.keeping(Digest.of(b"a")):
        pass
    world.metadata.close()

    assert list(world.metadata.leases.list()) == []


def test_a_blob_that_comes_while_a_collector_is_at_work_stays(world: World) -> None:
    old = world.bring(b"was there before")
    stray = world.bring(b"stray")
    done: list[Digest] = []

    def pause(_seconds: float) -> None:
        if not done and world.store.database.query("SELECT 1 FROM gc_run"):
            done.append(world.blob(b"was there before"))

    world.store.sleep = pause

    assert world.collect() == [f"content {stray}"]
    assert done == [old]
    assert world.repositories.has("app", old)


def test_why_a_blob_is_kept_is_told_from_its_tag_on(world: World) -> None:
    manifest, layer = world.image("it", "v2", "v1")
    lonely = world.blob(b"lonely", "other")

    assert explain(world, layer) == (
        f"kept: repository app -> tag v1 -> content {manifest} -> content {layer}"
    )
    assert explain(world, manifest) == f"kept: repository app -> tag v1 -> content {manifest}"
    assert explain(world, lonely) == f"kept: repository other -> content {lonely}"


def test_manifests_that_name_each_other_in_a_ring_are_told(world: World) -> None:
    layer = world.blob(b"layer")
    one = world.manifest(b"one", children=(layer,)).descriptor.digest
    two = world.manifest(b"two", children=(one,)).descriptor.digest
    world.store.database.change("INSERT INTO repository_links VALUES ('default', 'app', ?, ?, 1)", one, two)

    assert explain(world, layer).startswith("kept: repository app -> content ")


def test_namespaces_have_their_own_repositories(world: World) -> None:
    team = World(world.store.view(namespace="team"))
    digest = world.blob(b"shared bytes")

    assert team.repositories.names() == []
    assert not team.repositories.mount(None, "app", digest)
    with pytest.raises(Unavailable):  # it never brought the bytes
        team.repositories.add_blob("app", digest, 12)
    team.blob(b"shared bytes", "theirs")
    world.repositories.forget("app")
    assert world.collect() == [f"content {digest}"]
    assert team.repositories.has("theirs", digest)
    assert not world.repositories.has("app", digest)
    team.metadata.close()
    with pytest.raises(FailedPrecondition, match="has 1 blob, 1 repository; only an empty one goes"):
        world.metadata.namespaces.delete("team")


def test_what_lies_in_quarantine_is_not_offered_and_fsck_says_so(world: World, store: LocalStore) -> None:
    manifest, layer = world.image("it", "v1")
    os.unlink(store.paths.blob(layer))

    assert not world.repositories.has("app", layer)
    assert not world.repositories.use("app", layer)
    assert not world.repositories.mount("app", "other", layer)
    assert world.repositories.has("app", manifest)
    found = [each for each in problems(store, quick=False, dry_run=False) if each.kind == "repository"]
    assert [(each.subject, each.action) for each in found] == [("app", "none")]
    assert str(layer) in found[0].detail
    world.blob(b"layer of it")
    assert world.repositories.has("app", layer)


def test_repositories_are_counted_with_the_disk(world: World) -> None:
    world.blob(b"layer")
    world.blob(b"layer", "other")
    world.image("it")

    found = totals(world.store).repositories

    assert (found.count, found.size) == (2, world.repositories.size())


def test_reads_wait_for_nobody_who_writes(world: World) -> None:
    digest = world.blob(b"layer")
    version = world.repositories.version()
    answers: list[object] = []

    def read() -> None:
        answers.append(world.repositories.has("app", digest))
        answers.append(world.repositories.names())
        answers.append(world.repositories.version() == version)

    with world.store.database.transaction() as connection:
        connection.execute("DELETE FROM repositories")
        thread = threading.Thread(target=read)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()

    assert answers == [True, ["app"], True]
    assert world.repositories.version() != version


def test_every_leased_digest_of_many_threads_is_let_go(world: World) -> None:
    digests = [Digest.of(b"%d" % number) for number in range(5)]
    errors: list[BaseException] = []

    def hold(number: int) -> None:
        try:
            for turn in range(10):
                digest = digests[(number + turn) % len(digests)]
                with world.repositories.keeping(digest):
                    row = ("content", digest)
                    held = world.store.database.query(
                        "SELECT 1 FROM lease_resources WHERE (type, key) = (?, ?)", *row
                    )
                    assert held == [(1,)]
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=hold, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert world.store.database.query("SELECT count(*) FROM lease_resources") == [(0,)]


def test_the_collector_of_a_server_leaves_alone_what_was_never_offered(world: World) -> None:
    stray, (manifest, layer) = world.bring(b"dist ingest"), world.image("it")
    world.repositories.forget("app")

    world.metadata.discard([manifest, layer])

    assert world.there() == {stray}


def test_a_store_that_has_no_repositories_needs_no_database_for_them(store: LocalStore) -> None:
    metadata = Metadata(store, command="t")
    assert metadata.repositories.names() == []
    assert metadata.repositories.version() == 0
    assert list(metadata.repository_sweep(grace=0.0)) == []
    assert not store.database.exists()
    with ExitStack() as stack:
        stack.callback(metadata.close)
        assert isinstance(metadata.collector, Collector)


@pytest.mark.parametrize("error", [DiskFull("full"), ReadOnly("takes no writes")])
def test_what_is_offered_can_be_had_where_its_use_cannot_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch, error: DistoreError
) -> None:
    digest = world.blob(b"offered")
    world.clock.now += HOUR

    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(GroupCommit, "do", fail)

    assert world.repositories.use("app", digest)
