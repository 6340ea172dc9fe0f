"""Local writers that get no thread, no descriptor or no clean end; frontiers of large blobs."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore._internal import filelock, fsops
from distore.content.gaps import Frontier
from distore.content.local.hashing import FrontierHasher
from distore.content.local.store import LocalStore
from distore.content.store import Status
from distore.errors import DataLoss, FailedPrecondition, ResourceExhausted
from distore.oci.digest import Digest

DATA = random.Random(4).randbytes(3_000_000)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives none."""

    def start(thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("kept", [0, 1, 2_000_000])
def test_without_a_thread_the_digest_is_right_all_the_same(store: LocalStore, kept: int) -> None:
    with store.writer("r") as writer:
        writer.write(DATA[:kept])
    with store.writer("r") as writer:
        assert writer.offset == kept
        writer.write(DATA[kept : kept + 500_000])
        writer.write_at(DATA[kept + 500_000 :], kept + 500_000)

        assert writer.digest() == Digest.of(DATA)
        assert writer.commit() == Digest.of(DATA)


def test_whoever_waits_for_a_digest_is_told_that_the_writer_was_closed(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writer("r") as writer:
        writer.write(DATA[:200_000])
    reading, go_on = threading.Event(), threading.Event()

    def read(hasher: FrontierHasher, space: memoryview) -> int:
        reading.set()
        go_on.wait(5)
        return 1

    monkeypatch.setattr(FrontierHasher, "_read", read)
    errors: list[BaseException] = []

    def wait_for_it() -> None:
        try:
            writer.digest()
        except FailedPrecondition as error:
            errors.append(error)

    writer = store.writer("r")
    assert reading.wait(5)
    waiting = threading.Thread(target=wait_for_it, daemon=True)
    waiting.start()
    closing = threading.Thread(target=writer.close, daemon=True)
    closing.start()
    go_on.set()
    closing.join(5)
    waiting.join(2)

    assert not waiting.is_alive()
    assert "closed" in str(errors[0])


def test_a_close_that_the_device_refuses_lets_go_of_the_ingest(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = store.writer("r")
    writer.write(b"abc")
    data, real = writer.fileno(), os.close

    def close(fd: int) -> None:
        real(fd)
        if fd == data:
            raise OSError(errno.EIO, "lost")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        writer.close()

    assert store.status("r").owner is None
    with store.writer("r") as again:
        assert again.offset == 3


def test_a_writer_that_cannot_be_opened_keeps_no_descriptor(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writer("r") as writer:
        writer.write_at(DATA[: 2 << 20], 1 << 20)  # an island, which leaves a note
    before = os.listdir("/proc/self/fd")

    def truncate(fd: int, size: int) -> NoReturn:
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr(fsops, "truncate", truncate)
    with pytest.raises(DataLoss):
        store.writer("r")

    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_follower_without_descriptors_says_so_in_our_words(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(path: str) -> NoReturn:
        raise OSError(errno.EMFILE, "too many open files", path)

    monkeypatch.setattr(filelock, "open_to_look", look)

    with pytest.raises(ResourceExhausted, match="ingest 'r': too many open files"):
        store.follow("r")


def test_a_follower_is_asked_even_while_the_owner_has_no_byte_yet(store: LocalStore) -> None:
    """It must be able to give up: an owner may be stopped at any moment."""
    paths = store.paths.ingest("r")
    os.makedirs(paths.folder)
    lock = filelock.acquire(paths.lock, sleep=time.sleep)
    assert lock is not None
    threading.Timer(2, lock.release).start()
    seen: list[Status] = []

    class Enough(Exception):
        pass

    def look(status: Status) -> None:
        seen.append(status)
        raise Enough

    with pytest.raises(Enough):
        store.follow("r", on_progress=look)

    assert (seen[0].ref, seen[0].offset) == ("r", 0)
    lock.release()


class TestFrontier:
    """What arrived, however many pieces it came in."""

    def test_pieces_that_meet_are_one_island(self) -> None:
        """A terabyte behind a gap comes in a million of them, and each is looked at after each."""
        frontier = Frontier()
        pieces = [(1000 + 10 * n, 1010 + 10 * n) for n in range(500)]
        random.Random(1).shuffle(pieces)

        for start, end in pieces:
            frontier.add(start, end)

        assert len(frontier._islands) == 1
        assert (frontier.islands, frontier.gaps) == ([(1000, 6000)], [(0, 1000)])

    @given(
        pieces=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=20),
        begin=st.integers(0, 20),
    )
    def test_it_knows_every_byte(self, pieces: list[tuple[int, int]], begin: int) -> None:
        frontier = Frontier(begin)
        there: set[int] = set(range(begin))
        for at, size in pieces:
            start = max(at, frontier.end)
            frontier.add(start, start + size)
            there |= set(range(start, start + size))

            end = next(n for n in range(400) if n not in there)
            assert frontier.end == end
            covered: set[int] = set(range(end))
            islands: list[Any] = frontier.islands
            for one, (first, last) in enumerate(islands):
                assert first > (islands[one - 1][1] if one else end)
                covered |= set(range(first, last))
            assert covered == there
            missing = {n for low, high in frontier.missing(400) for n in range(low, high)}
            assert missing == set(range(400)) - there
