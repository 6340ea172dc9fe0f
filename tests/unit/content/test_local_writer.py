"""What a local writer does beyond the contract: resume beside hashing, reserve, take files, heal."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from distore._internal import fsops
from distore.content import blobs
from distore.content.local.hashing import FrontierHasher
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import (
    AlreadyExists,
    DataLoss,
    DigestMismatch,
    DiskFull,
    FailedPrecondition,
    InvalidArgument,
    Locked,
    ResourceExhausted,
    SizeMismatch,
)
from distore.oci.digest import Digest

DATA = random.Random(4).randbytes(3_000_000)


def test_a_resumed_writer_takes_bytes_while_the_kept_ones_are_hashed(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.writer("r") as writer:
        writer.write(DATA[:2_000_000])
    # The hasher cannot read a byte back before the new ones have been written.
    written: list[bool] = []
    real = FrontierHasher._read

    def read(self: FrontierHasher, space: memoryview) -> int:
        while not written:
            os.sched_yield()
        return real(self, space)

    monkeypatch.setattr(FrontierHasher, "_read", read)

    with store.writer("r") as writer:
        assert writer.offset == 2_000_000
        writer.write(DATA[2_000_000:])
        written.append(True)

        assert writer.commit() == Digest.of(DATA)


def test_kept_bytes_that_were_damaged_are_found_at_the_commit(store: LocalStore) -> None:
    with store.writer("r", expected=Digest.of(DATA)) as writer:
        writer.write(DATA[:1_000_000])
    data = next(Path(store.root).glob("ingest/*/data"))
    with data.open("r+b") as file:
        file.write(b"damage")

    with store.writer("r") as writer:
        writer.write(DATA[1_000_000:])
        with pytest.raises(DigestMismatch):
            writer.commit()

    assert list(store.walk()) == []


def test_a_file_that_is_shorter_than_it_was_cannot_be_hashed(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"0123456789")
    with (tmp_path / "data").open("rb") as file:
        hasher = FrontierHasher(file.fileno(), "sha256")
        hasher.advance(100)

        with pytest.raises(OSError, match="shorter"):
            hasher.digest()
        hasher.close()


def test_a_full_disk_says_so_before_the_first_byte(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def full(fd: int, size: int) -> None:
        asked.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fsops, "reserve", full)
    with (
        store.writer("r", total=len(DATA)) as writer,
        pytest.raises(DiskFull, match=r"^ingest 'r': no space left"),
    ):
        writer.write(DATA)

    assert asked == [len(DATA)]
    assert store.status("r").offset == 0


def test_reserved_space_is_given_back_when_the_ingest_is_left(store: LocalStore) -> None:
    with store.writer("r", total=50_000_000) as writer:
        writer.write(DATA)
        path = next(Path(store.root).glob("ingest/*/data"))
        held = path.stat().st_blocks * 512

    assert path.stat().st_size == len(DATA)
    assert path.stat().st_blocks * 512 <= max(len(DATA) + 1_000_000, held // 2)


@pytest.mark.parametrize("link", ["auto", "copy", "hardlink"])
def test_a_file_becomes_a_blob(store: LocalStore, tmp_path: Path, link: str) -> None:
    source = tmp_path / "file"
    source.write_bytes(DATA)
    with store.writer("r") as writer:
        writer.write(b"something that was kept")
        writer.take_file(str(source), link=link)

        digest = writer.commit(size=len(DATA), expected=Digest.of(DATA))

    assert os.path.samefile(store.path(digest), source) == (link == "hardlink")
    assert blobs.read_blob(store, digest, max_size=len(DATA)) == DATA


def test_a_linked_file_that_was_not_committed_is_never_written(store: LocalStore, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(DATA)
    with store.writer("r") as writer:
        writer.take_file(str(source), link="hardlink")
        with pytest.raises(SizeMismatch):
            writer.commit(size=1)

    with store.writer("r") as writer:
        assert writer.offset == 0
        writer.write(b"something else")
        writer.truncate()
        writer.write(b"more")
        writer.commit()

    assert source.read_bytes() == DATA


def test_a_fifo_is_refused_at_once(store: LocalStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with store.writer("r") as writer, pytest.raises(FailedPrecondition, match="not a regular file"):
        writer.take_file(str(tmp_path / "fifo"))


def test_an_unknown_way_to_link_is_refused(store: LocalStore, tmp_path: Path) -> None:
    with store.writer("r") as writer, pytest.raises(InvalidArgument, match="'symlink'"):
        writer.take_file(str(tmp_path), link="symlink")


def test_a_write_that_fails_keeps_what_was_written_before(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fsops.write
    with store.writer("r") as writer:
        writer.write(DATA[:500_000])

        def full(fd: int, data: bytes, offset: int) -> None:
            real(fd, bytes(data)[:1000], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(fsops, "write", full)
        with pytest.raises(DiskFull):
            writer.write(DATA[500_000:])
        monkeypatch.setattr(fsops, "write", real)

        assert writer.offset == 500_000
        writer.write(DATA[500_000:])
        assert writer.commit() == Digest.of(DATA)


def test_open_writer_waits_for_its_turn_takes_the_result_or_fails(tmp_path: Path) -> None:
    held = LocalStore(str(tmp_path / "s")).writer("r")
    held.write(b"x")

    def ends(seconds: float) -> None:
        held.close()

    def commits(seconds: float) -> None:
        again.commit()

    with pytest.raises(Locked):
        blobs.open_writer(LocalStore(str(tmp_path / "s"), sleep=lambda s: None), "r", on_locked="fail")
    # The lock is looked at a few times before it counts as held; the end comes while it is followed.
    with blobs.open_writer(LocalStore(str(tmp_path / "s"), sleep=ends), "r", on_locked="wait") as again:
        assert again.offset == 1
        with pytest.raises(AlreadyExists) as caught:
            blobs.open_writer(LocalStore(str(tmp_path / "s"), sleep=Late(commits)), "r", on_locked="follow")
    assert caught.value.subject == Digest.of(b"x")
    with pytest.raises(InvalidArgument, match="'never'"):
        blobs.open_writer(LocalStore(str(tmp_path / "s")), "r", on_locked="never")


class Late:
    """A sleep that acts once, after the short sleeps with which a lock is tried."""

    def __init__(self, act: Callable[[float], None]) -> None:
        self._act = act
        self._done = False

    def __call__(self, seconds: float) -> None:
        if seconds > 0.01 and not self._done:
            self._done = True
            self._act(seconds)


def test_blobs_are_copied_from_any_store_to_any_other_and_resumed(store: LocalStore) -> None:
    source = MemoryStore()
    digest = blobs.write_blob(source, "r", DATA)
    with store.writer("copy") as writer:
        writer.write(DATA[:1_234_567])

    with store.writer("copy") as writer:
        blobs.copy(source, digest, writer)
        assert writer.commit(expected=digest) == digest


def test_a_blob_that_is_read_whole_is_verified_and_capped(store: LocalStore) -> None:
    digest = blobs.write_blob(store, "r", b"hello")
    with pytest.raises(ResourceExhausted, match="5 bytes, the limit here is 4"):
        blobs.read_blob(store, digest, max_size=4)
    path = Path(store.path(digest))
    path.chmod(0o644)
    path.write_bytes(b"HELLO")

    with pytest.raises(DataLoss, match="damaged"):
        blobs.read_blob(store, digest, max_size=5)
