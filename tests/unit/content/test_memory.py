"""What MemoryStore promises to the tests that use it, beyond the contract every store keeps."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from distore.content.memory import MemoryStore
from distore.content.store import Info, Owner, Status
from distore.errors import DeadlineExceeded, Locked, NotFound, ResourceExhausted
from distore.oci.digest import Digest


class Clock:
    """Seconds since the epoch that stand still until a test moves them."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def at(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(1_000_000 + seconds, UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(now=clock, command="dist test")


def test_the_times_of_an_ingest_come_from_the_clock(store: MemoryStore, clock: Clock) -> None:
    writer = store.writer("r")
    opened = writer.status()
    clock.seconds += 5
    writer.write(b"1")
    written = writer.status()
    clock.seconds += 5
    writer.close()
    reopened = store.writer("r").status()

    assert (opened.started, opened.updated) == (clock.at(0), clock.at(0))
    assert (written.started, written.updated) == (clock.at(0), clock.at(5))
    assert (reopened.started, reopened.updated) == (clock.at(0), clock.at(5))
    assert reopened.owner == Owner(os.getpid(), os.uname().nodename, "dist test", clock.at(10))


def test_the_times_of_a_blob_come_from_the_clock(store: MemoryStore, clock: Clock) -> None:
    writer = store.writer("r")
    clock.seconds += 5
    digest = writer.commit()
    clock.seconds += 5
    store.update(store.info(digest)._replace(labels={"a": "1"}))

    assert store.info(digest) == Info(digest, 0, clock.at(5), clock.at(10), {"a": "1"})


def test_a_held_ingest_names_its_owner_and_since_when(store: MemoryStore, clock: Clock) -> None:
    store.writer("r")
    clock.seconds += 65

    who = rf"^ingest 'r': locked by pid {os.getpid()} on \S+ \(dist test\) for 65 s"
    with pytest.raises(Locked, match=who + "$") as caught:
        store.writer("r")
    with pytest.raises(DeadlineExceeded, match=who + "; waited 0 s$"):
        store.follow("r", timeout=0)

    assert (caught.value.pid, caught.value.command) == (os.getpid(), "dist test")
    assert caught.value.since == clock.at(0)


def test_what_a_caller_does_to_labels_changes_nothing_in_the_store(store: MemoryStore) -> None:
    given = {"a": "1"}
    digest = store.writer("r").commit(labels=given)
    for labels in (given, store.info(digest).labels, next(store.walk()).labels):
        assert isinstance(labels, dict)
        labels["a"] = "2"

    returned = store.update(store.info(digest), "labels").labels
    assert isinstance(returned, dict)
    returned["a"] = "2"

    assert store.info(digest).labels == {"a": "1"}


def test_a_listing_shows_the_store_as_it_was_at_the_call(store: MemoryStore) -> None:
    digest = store.writer("committed").commit()
    store.writer("kept").close()
    blobs, ingests = store.walk(), store.statuses()

    store.delete(digest)
    store.abort("kept")

    assert [info.digest for info in blobs] == [digest]
    assert [status.ref for status in ingests] == ["kept"]


def test_a_segment_far_away_is_refused_before_it_takes_memory(store: MemoryStore) -> None:
    with store.writer("r") as writer:
        writer.write(b"kept")
        with pytest.raises(ResourceExhausted, match=r"^ingest 'r': over 1073741824 bytes"):
            writer.write_at(b"x", 1 << 40)
        with pytest.raises(ResourceExhausted):
            writer.write_at(b"x", 1 << 62)

        assert writer.commit() == Digest.of(b"kept")


def test_a_writer_that_is_done_has_the_status_of_its_ref(store: MemoryStore) -> None:
    first = store.writer("r")
    first.close()
    with store.writer("r") as second:
        second.write(b"12")
        assert first.status() == second.status() == store.status("r")
        second.commit()

    for writer in (first, second):
        with pytest.raises(NotFound):
            writer.status()


def test_a_follower_holds_nobody_up(store: MemoryStore) -> None:
    writer = store.writer("r")
    seen: list[int] = []

    def on_progress(status: Status) -> None:
        # Another thread goes on and ends the ingest while this one is still reporting.
        with ThreadPoolExecutor() as pool:
            pool.submit(writer.write, b"12").result(10)
            pool.submit(writer.commit).result(10)
        seen.append(status.offset)

    assert store.follow("r", on_progress=on_progress, timeout=10) == Digest.of(b"12")
    assert seen == [0]


def test_a_follower_stays_while_one_writer_hands_over_to_the_next(store: MemoryStore) -> None:
    first, handed_over = store.writer("r"), threading.Event()

    def on_progress(status: Status) -> None:
        if not handed_over.is_set():
            first.close()
            store.writer("r").write(b"12")
            handed_over.set()

    with pytest.raises(DeadlineExceeded):
        store.follow("r", on_progress=on_progress, timeout=0.01)

    assert handed_over.is_set()


def test_many_threads_share_one_store(store: MemoryStore) -> None:
    def ingest(number: int) -> Digest:
        data = b"%d" % (number % 10)
        with store.writer(f"ref {number}") as writer:
            for byte in data * 100:
                writer.write(bytes([byte]))
            assert [status.ref for status in store.statuses(f'ref=="ref {number}"')] == [f"ref {number}"]
            writer.truncate(len(data))
            return writer.commit() if number < 10 else writer.digest()

    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(ingest, range(40)))

    assert {info.digest for info in store.walk()} == set(digests)
    assert len(set(digests)) == 10
    assert {status.ref for status in store.statuses()} == {f"ref {number}" for number in range(10, 40)}
