"""Archives and layers that are compressed."""

from __future__ import annotations

import bz2
import gzip
import os
import sys
import tempfile
import types
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.ends_images import (
    archive,
    contents,
)

from distore.diff.frames import zstd_module
from distore.errors import (
    DataLoss,
    DiskFull,
    ResourceExhausted,
    Unimplemented,
)
from distore.transfer.archive import OciArchiveOrigin
from distore.transfer.unpacking import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def origin(path: Path, tag: str | None = None) -> OciArchiveOrigin:
    return OciArchiveOrigin(str(path), tag)


def test_an_archive_packed_with_gzip_is_read_all_the_same(tmp_path: Path) -> None:
    plain = archive(tmp_path / "a").read_bytes()
    half = len(plain) // 2
    (tmp_path / "a.gz").write_bytes(gzip.compress(plain[:half]) + gzip.compress(plain[half:]) + bytes(100))

    with origin(tmp_path / "a.gz", "v1") as end:
        assert len(contents(end)) == 5


def test_a_damaged_gzip_is_data_loss(tmp_path: Path) -> None:
    packed = gzip.compress(archive(tmp_path / "a").read_bytes())
    for name, data in {
        "cut": packed[:-20],
        "flipped": packed[:500] + bytes([packed[500] ^ 0xFF]) + packed[501:],
        "tail": packed + b"garbage",
    }.items():
        (tmp_path / name).write_bytes(data)

        with pytest.raises(DataLoss, match="gzip"):
            origin(tmp_path / name)


def test_a_full_disk_while_unpacking_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(archive(tmp_path / "a").read_bytes()))

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFull, match=f"unpacking it in {tempfile.gettempdir()}"):
        origin(tmp_path / "a.gz")


def test_a_bomb_takes_no_memory() -> None:
    taken: list[int] = []
    unpacker = Unpacker(lambda data: taken.append(memoryview(data).nbytes), subject="x")

    unpacker.feed(gzip.compress(bytes(20_000_000)))
    unpacker.finish()

    assert sum(taken) == 20_000_000
    assert max(taken) <= 1024 * 1024


@pytest.mark.parametrize("pack", [gzip.compress, zstd_module("tests").compress])
def test_a_bomb_ends_at_the_limit(pack: Callable[[bytes], bytes]) -> None:
    taken: list[int] = []
    unpacker = Unpacker(lambda data: taken.append(memoryview(data).nbytes), subject="x", limit=5_000_000)

    with pytest.raises(ResourceExhausted, match="x: unpacks to more than 5000000 bytes"):
        unpacker.feed(pack(bytes(20_000_000)))

    assert sum(taken) <= 5_000_000


@pytest.mark.parametrize("size", [0, 1, 3, 100, 3_000_000])
@pytest.mark.parametrize("packed", [False, True])
def test_bytes_are_unpacked_however_they_are_cut(size: int, packed: bool) -> None:
    plain = bytes(range(256)) * (size // 256) + bytes(size % 256)
    data = gzip.compress(plain, 1) if packed else plain
    out = bytearray()
    unpacker = Unpacker(out.extend, subject="x")  # type: ignore[arg-type]  # typeshed: an iterable of int

    step = 1 if len(data) < 1000 else 65537
    for start in range(0, len(data), step):
        unpacker.feed(data[start : start + step])
    unpacker.finish()

    assert out == plain


def test_zstd_is_read_where_python_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "z").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600))
    for name in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unimplemented, match="zstd"):
        origin(tmp_path / "z")

    # bz2's decompressor has the same interface as zstd's.
    class Same:
        def __init__(self) -> None:
            self._inner = bz2.BZ2Decompressor()

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def decompress(self, data: bytes, max_length: int = -1) -> bytes:
            return self._inner.decompress(bytes(data).removeprefix(b"\x28\xb5\x2f\xfd"), max_length)

    module = types.ModuleType("zstd")
    module.ZstdDecompressor, module.ZstdError = Same, OSError  # type: ignore[attr-defined]
    for name in ("compression", "backports"):
        parent = types.ModuleType(name)
        parent.zstd = module  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, parent)
        monkeypatch.setitem(sys.modules, f"{name}.zstd", module)
    packed = bz2.compress(archive(tmp_path / "a").read_bytes())
    (tmp_path / "z").write_bytes(b"\x28\xb5\x2f\xfd" + packed)
    with origin(tmp_path / "z") as end:
        assert len(contents(end)) == 5
    (tmp_path / "z").write_bytes(b"\x28\xb5\x2f\xfd" + packed[:-10])
    with pytest.raises(DataLoss, match="too early"):
        origin(tmp_path / "z")
