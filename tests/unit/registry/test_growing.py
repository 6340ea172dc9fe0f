"""A blob that is read by many while it is on its way."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from distore.content.local.store import LocalStore
from distore.errors import FailedPrecondition, OutOfRange, Unavailable
from distore.oci.digest import Digest
from distore.registry.growing import GrowingReader, Growth, UnreadReader

BLOB = bytes(range(256)) * 40
DIGEST = Digest.of(BLOB)


class Bringing:
    """A growth and the file that it grows in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()
        self.growth = Growth(DIGEST, size=len(BLOB))
        self.growth.attach(os.open(path, os.O_RDONLY))

    def bring(self, end: int, data: bytes = BLOB) -> None:
        with self.path.open("r+b") as file:
            file.write(data[:end])
        self.growth.advance(end)

    def reader(self) -> GrowingReader:
        assert self.growth.hold()
        return GrowingReader(self.growth)


@pytest.fixture
def bringing(tmp_path: Path) -> Iterator[Bringing]:
    bringing = Bringing(tmp_path / "data")
    yield bringing
    bringing.growth.let_go()


def put(store: LocalStore, data: bytes = BLOB) -> None:
    with store.writer("all") as writer:
        writer.write(data)
        writer.commit()


def test_what_has_arrived_can_be_read(bringing: Bringing) -> None:
    bringing.bring(1000)

    with bringing.reader() as reader:
        assert reader.read_at(5000, 0) == BLOB[:1000]
        assert reader.read_at(10, 500) == BLOB[500:510]


def test_a_read_waits_for_its_bytes(bringing: Bringing) -> None:
    got: list[bytes] = []
    with bringing.reader() as reader:
        thread = threading.Thread(target=lambda: got.append(reader.read_at(10, 2000)))
        thread.start()
        bringing.bring(1000)
        bringing.bring(3000)
        thread.join()

    assert got == [BLOB[2000:2010]]


def test_a_callback_comes_once_when_there_is_something_to_read(bringing: Bringing) -> None:
    calls: list[int] = []
    with bringing.reader() as reader:
        there = reader.wait(2000, lambda: calls.append(1))
        bringing.bring(1000)
        before = list(calls)
        bringing.bring(3000)
        bringing.bring(4000)

        assert (there, before, calls) == (False, [], [1])
        assert reader.wait(2000, lambda: calls.append(2))


def test_the_last_byte_comes_when_the_digest_is_right(bringing: Bringing, store: LocalStore) -> None:
    put(store)
    bringing.bring(len(BLOB))
    with bringing.reader() as reader:
        before = reader.read_at(len(BLOB), 0)
        bringing.growth.prove()
        bringing.growth.finish(store.reader(DIGEST))

        assert before + reader.read_at(len(BLOB), len(before)) == BLOB


def test_what_was_read_of_an_ingest_that_became_another_blob_is_not_gone_on_with(
    bringing: Bringing, store: LocalStore
) -> None:
    put(store)
    bringing.bring(1000)
    with bringing.reader() as reader:
        reader.read_at(1000, 0)
        bringing.growth.finish(store.reader(DIGEST))

        with pytest.raises(Unavailable, match="given up"):
            reader.read_at(1000, 1000)


def test_who_has_read_nothing_reads_the_whole_blob_out_of_the_store(
    bringing: Bringing, store: LocalStore
) -> None:
    put(store)
    bringing.bring(100)
    with bringing.reader() as reader:
        bringing.growth.finish(store.reader(DIGEST))

        assert reader.read_at(len(BLOB), 0) == BLOB


def test_what_was_given_up_breaks_off_those_who_have_read_it(bringing: Bringing) -> None:
    bringing.bring(1000)
    with bringing.reader() as reader, bringing.reader() as late:
        reader.read_at(1000, 0)
        bringing.growth.give_up(0)
        bringing.bring(2000)

        with pytest.raises(Unavailable, match="given up"):
            reader.read_at(100, 1000)
        assert late.read_at(100, 0) == BLOB[:100]


def test_an_ingest_that_has_become_a_blob_gives_nothing_up(bringing: Bringing) -> None:
    bringing.bring(1000)
    with bringing.reader() as reader:
        reader.read_at(500, 0)
        bringing.growth.follow(0)

        assert reader.read_at(500, 500) == BLOB[500:1000]


def test_an_ingest_that_begins_anew_breaks_off_those_who_read_along(bringing: Bringing) -> None:
    bringing.bring(1000)
    with bringing.reader() as reader:
        reader.read_at(500, 0)
        os.truncate(bringing.path, 0)
        bringing.growth.follow(0)
        bringing.bring(1000)

        with pytest.raises(Unavailable, match="given up"):
            reader.read_at(500, 500)


def test_an_ingest_that_begins_anew_in_another_file_breaks_off_those_who_read_along(
    bringing: Bringing, tmp_path: Path
) -> None:
    bringing.bring(1000, b"x" * 1000)
    reader = bringing.reader()
    assert reader.read_at(1000, 0) == b"x" * 1000
    bringing.path = tmp_path / "anew"
    bringing.path.write_bytes(BLOB)

    bringing.growth.attach(os.open(bringing.path, os.O_RDONLY))
    bringing.growth.follow(2000)

    with pytest.raises(Unavailable, match="given up"):
        reader.read_at(1000, 1000)
    reader.close()


def test_a_failure_reaches_who_waits_and_who_comes_later(bringing: Bringing) -> None:
    bringing.bring(1000)
    with bringing.reader() as reader:
        bringing.growth.fail(Unavailable("gone"))

        assert reader.read_at(100, 0) == BLOB[:100]
        with pytest.raises(Unavailable, match="gone"):
            reader.read_at(100, 1000)


def test_nothing_is_read_out_of_range_or_after_the_end(bringing: Bringing) -> None:
    reader = bringing.reader()
    with pytest.raises(OutOfRange):
        reader.read_at(-1, 0)
    assert reader.read_at(10, len(BLOB)) == b""
    reader.close()
    reader.close()

    with pytest.raises(FailedPrecondition):
        reader.read_at(1, 0)


def test_the_file_is_open_as_long_as_somebody_reads(tmp_path: Path) -> None:
    bringing = Bringing(tmp_path / "data")
    bringing.bring(1000)
    reader = bringing.reader()
    bringing.growth.let_go()

    assert reader.read_at(10, 0) == BLOB[:10]
    reader.close()
    assert not bringing.growth.hold()


def test_what_is_elsewhere_cannot_be_read() -> None:
    with UnreadReader(DIGEST, 5) as reader, pytest.raises(Unavailable):
        reader.read_at(1, 0)
