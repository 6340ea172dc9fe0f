"""Metadata: leases around work, and collections that are due by themselves."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NoReturn

import pytest

from distore._internal import fsops
from distore.content.local.store import LocalStore
from distore.errors import NotFound
from distore.metadata.db import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from distore.oci.digest import Digest


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    return Metadata(LocalStore(str(tmp_path / "store")), command="test")


def commit(store: LocalStore, data: bytes) -> Digest:
    with store.writer("upload") as writer:
        writer.write(data)
        return writer.commit()


def test_what_is_brought_under_a_lease_outlives_a_collection_within_it(metadata: Metadata) -> None:
    with metadata.leased("test") as held:
        digest = commit(held, b"held")
        metadata.collect()
        held.info(digest)

    metadata.collect()

    with pytest.raises(NotFound):
        metadata.content.info(digest)


def test_a_lease_within_a_lease_is_the_same_one(metadata: Metadata) -> None:
    with metadata.leased("outer") as outer:
        with Metadata(outer, command="test").leased("inner") as inner:
            assert inner is outer

        assert [lease.id for lease in metadata.leases.list()] == [outer.visibility.lease]

    assert list(metadata.leases.list()) == []


def test_the_lease_ends_with_the_error_of_its_block(metadata: Metadata) -> None:
    with pytest.raises(ZeroDivisionError), metadata.leased("test"):
        raise ZeroDivisionError

    assert list(metadata.leases.list()) == []


def test_deletions_lead_to_a_collection_once_there_are_enough(metadata: Metadata) -> None:
    commit(metadata.content, b"garbage")
    metadata.collector.schedule(["deletion_threshold=2", "pause_threshold=0"])

    metadata.note_deletions(1)
    before = len(list(metadata.content.digests()))
    metadata.note_deletions(1)

    assert (before, len(list(metadata.content.digests()))) == (1, 0)


def test_work_leads_to_a_collection_when_something_was_deleted_before(metadata: Metadata) -> None:
    commit(metadata.content, b"garbage")
    metadata.collector.schedule(["mutation_threshold=3", "pause_threshold=0"])

    with metadata.leased("first"):
        pass
    metadata.note_deletions(1)
    before = len(list(metadata.content.digests()))
    with metadata.leased("last"):
        pass

    assert (before, len(list(metadata.content.digests()))) == (1, 0)


def test_nothing_is_collected_unless_it_was_asked_for(metadata: Metadata) -> None:
    commit(metadata.content, b"kept")

    metadata.note_deletions(10_000)
    for _ in range(3):
        with metadata.leased("work"):
            pass

    assert len(list(metadata.content.digests())) == 1


def test_work_that_is_done_does_not_fail_by_a_collection_that_does(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: str) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    metadata.collector.schedule(["deletion_threshold=1", "mutation_threshold=1", "pause_threshold=0"])
    stray = commit(metadata.content, b"stray")

    with monkeypatch.context() as patch:
        patch.setattr(fsops, "unlink", full)
        metadata.note_deletions(1)
        with metadata.leased("work"):
            pass

    assert list(metadata.content.digests()) == [stray]
    metadata.note_deletions(1)
    assert list(metadata.content.digests()) == []
