"""Archives and layouts that are made to cost more than they weigh, or to wait for ever."""

from __future__ import annotations

import gzip
import os
import tarfile
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.ends_images import make_image, push_all

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.diff import frames
from distore.errors import DataLoss, ResourceExhausted
from distore.transfer import tarindex
from distore.transfer.layout import LayoutOrigin, LayoutSink
from distore.transfer.tarindex import MAX_EXTENSION, TarArchive
from distore.transfer.unpacking import Unpacker

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import ReadableBuffer

EMPTY = gzip.compress(b"", mtime=0)


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def record(key: str, value: str) -> bytes:
    """A pax record; its length counts itself."""
    rest = f" {key}={value}\n".encode()
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def test_extensions_in_a_row_do_not_add_up_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        for number in range(12):
            data = record(f"key-{number}", "x" * (MAX_EXTENSION - 100))
            file.write(member("pax", data, tarfile.XHDTYPE))
        file.write(member("pax", record("path", "renamed"), tarfile.XHDTYPE) + member("file", b"bytes"))
        file.write(bytes(2 * tarfile.BLOCKSIZE))

    tracemalloc.start()
    tar = TarArchive(str(path), subject="a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert tar.read("renamed", limit=10) == b"bytes"
    tar.close()
    assert peak < 6 * MAX_EXTENSION


def test_names_have_a_limit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarindex, "MAX_NAMES", 100)
    (tmp_path / "a").write_bytes(b"".join(member(str(number) * 40) for number in range(3)) + bytes(1024))

    with pytest.raises(ResourceExhausted, match="names of over 100 characters"):
        TarArchive(str(tmp_path / "a"), subject="a")


def test_tiny_gzip_members_cost_no_more_than_they_weigh(monkeypatch: pytest.MonkeyPatch) -> None:
    fed = 0

    class Counted:
        def __init__(self, wbits: int) -> None:
            self._inner = zlib.decompressobj(wbits)

        def decompress(self, data: ReadableBuffer, limit: int) -> bytes:
            nonlocal fed
            fed += memoryview(data).nbytes
            return self._inner.decompress(data, limit)

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

    class Zlib:
        error = zlib.error
        decompressobj = Counted

    monkeypatch.setattr(frames, "zlib", Zlib)
    data = EMPTY * 5000
    unpacker = Unpacker(lambda _: None, subject="x")

    unpacker.feed(data)
    unpacker.finish()

    assert fed < 100 * len(data)


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_members_of_all_sizes_and_padding_are_undone_in_pieces_of_any_size(size: int) -> None:
    parts = [os.urandom(length) for length in (0, 1, 5000, 0, 3000, 70_000)]
    packed = b"".join(gzip.compress(part) + bytes(len(part) % 3000) for part in parts) + bytes(5000)
    packed = packed if size > 1 else packed[:-80_000]
    whole = b"".join(parts)
    out = bytearray()
    unpacker = Unpacker(lambda data: out.extend(bytes(data)), subject="x")

    for at in range(0, len(packed), size):
        unpacker.feed(packed[at : at + size])

    assert bytes(out) == whole if size > 1 else whole.startswith(bytes(out))


def test_a_pipe_in_place_of_a_blob_is_not_waited_for(tmp_path: Path) -> None:
    store, root = make_image(1, layers=1)
    with LayoutSink(str(tmp_path), "v1", store=LocalStore(str(tmp_path))) as sink:
        push_all(store, root, sink)
    blob = tmp_path / "blobs" / "sha256" / root.digest.encoded
    blob.unlink()
    os.mkfifo(blob)
    origin = LayoutOrigin(str(tmp_path), "v1", store=LocalStore(str(tmp_path)))

    with pytest.raises(DataLoss, match="damaged"):
        read_blob(origin, origin.resolve().digest, max_size=root.size)
