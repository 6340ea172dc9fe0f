"""Layers compressed and plain again."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distore.content.slices import BytesReader
from distore.diff.compression import (
    LEVELS,
    BlobInput,
    Decompressed,
    check_level,
    compressor,
)
from distore.diff.frames import compression_of
from distore.errors import DataLoss, InvalidArgument, ResourceExhausted, Unimplemented

BOTH = ("gzip", "zstd")
WORDS = [random.Random(seed).randbytes(seed % 9 + 2) for seed in range(2000)]
BLOCK = 512 * 1024  # what a thread packs


def pack(
    data: bytes, compression: str, *, level: int | None = None, threads: int = 1, step: int = 1 << 20
) -> bytes:
    out = bytearray()
    packer = compressor(compression, out.__iadd__, level=level, threads=threads, subject="x")
    for start in range(0, len(data), step):
        packer.write(data[start : start + step])
    packer.finish()
    packer.close()
    return bytes(out)


def unpack(data: bytes, *, limit: int | None = None, room: int = 100_000) -> bytes:
    source = Decompressed(BlobInput(BytesReader(data)), subject="layer x", limit=limit)
    space, out = memoryview(bytearray(room)), bytearray()
    while size := source.readinto(space):
        out += space[:size]
    return bytes(out)


@pytest.fixture(scope="module")
def mixed() -> bytes:
    """More than two blocks, of which one does not shrink."""
    noise = random.Random(1).randbytes(BLOCK // 2)
    return noise + b"hello" * 40_000 + noise + bytes(BLOCK)


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=2000), max_size=4),
    compression=st.sampled_from(BOTH),
    room=st.integers(min_value=1, max_value=5000),
)
def test_what_is_compressed_in_parts_comes_back_whole(
    parts: list[bytes], compression: str, room: int
) -> None:
    packed = b"".join(pack(part, compression) for part in parts)

    assert unpack(packed, room=room) == b"".join(parts)


@pytest.mark.parametrize("compression", BOTH)
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_sizes_around_a_block_come_back(compression: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)

    packed = pack(data, compression, threads=2)

    assert unpack(packed) == data
    assert compression_of(packed) == compression


@pytest.mark.parametrize("compression", BOTH)
def test_threads_and_pieces_do_not_show_in_the_output(compression: str, mixed: bytes) -> None:
    outputs = {
        pack(mixed, compression, threads=threads, step=step)
        for threads in (1, 2, 3)
        for step in (9999, 1 << 20)
    }

    assert len(outputs) == 1
    assert unpack(outputs.pop()) == mixed


def test_gzip_is_one_member_without_name_and_time_that_others_read(mixed: bytes) -> None:
    packed = pack(mixed, "gzip", threads=2)
    member = zlib.decompressobj(31)

    plain = member.decompress(packed)

    assert (plain, member.eof, member.unused_data) == (mixed, True, b"")
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert len(packed) < len(gzip.compress(mixed)) * 1.01


@pytest.mark.parametrize("compression", BOTH)
def test_a_higher_level_makes_it_smaller(compression: str) -> None:
    numbers = random.Random(4)
    text = b" ".join(numbers.choice(WORDS) for _ in range(50_000))
    first, last = LEVELS[compression][0], LEVELS[compression][-1]

    small, large = (len(pack(text, compression, level=level)) for level in (last, first))

    assert small < large


def test_plain_bytes_stay() -> None:
    for data in (b"", b"a", b"abc", b"abcd", bytes(300_000)):
        assert unpack(data) == data


@pytest.mark.parametrize(("head", "name"), [(b"\xfd7zXZ\0", "xz"), (b"\x04\x22\x4d\x18", "lz4")])
def test_a_compression_that_nobody_reads_is_named(head: bytes, name: str) -> None:
    with pytest.raises(Unimplemented, match=f"layer 0: compressed by {name}; want gzip, zstd or none"):
        Decompressed(BlobInput(BytesReader(head + bytes(600))), subject="layer 0")


def test_padding_and_many_tiny_members_are_read() -> None:
    tiny = gzip.compress(b"x")

    assert unpack(gzip.compress(b"ab") + bytes(5) + gzip.compress(b"c") + bytes(600_000)) == b"abc"
    assert unpack(tiny * 20_000) == b"x" * 20_000


@pytest.mark.parametrize("compression", BOTH)
def test_a_missing_end_is_data_loss(compression: str, mixed: bytes) -> None:
    packed = pack(mixed, compression)

    for cut in (5, len(packed) // 2, len(packed) - 1):
        with pytest.raises(DataLoss, match=f"^layer x: the end is missing of its {compression} data$"):
            unpack(packed[:cut])


@pytest.mark.parametrize("compression", BOTH)
def test_damage_is_data_loss(compression: str) -> None:
    packed = bytearray(pack(random.Random(2).randbytes(50_000), compression))
    packed[-3] ^= 0xFF

    with pytest.raises(DataLoss, match=f"^layer x: damaged {compression} data$"):
        unpack(bytes(packed))
    with pytest.raises(DataLoss, match="damaged"):
        unpack(pack(b"x", compression) + b"garbage")


@pytest.mark.parametrize("compression", BOTH)
def test_a_bomb_ends_at_the_limit(compression: str) -> None:
    bomb = pack(bytes(3_000_000), compression)

    with pytest.raises(ResourceExhausted, match=r"^layer x: unpacks to more than 1000000 bytes$"):
        unpack(bomb, limit=1_000_000)
    assert len(unpack(bomb, limit=3_000_000)) == 3_000_000


def test_progress_tells_the_offset_in_the_compressed_bytes() -> None:
    told: list[int] = []
    packed = pack(random.Random(3).randbytes(600_000), "gzip")
    source = Decompressed(BlobInput(BytesReader(packed), on_progress=told.append), subject="x")

    while source.readinto(memoryview(bytearray(100_000))):
        pass

    assert told == sorted(told)
    assert told[-1] == len(packed)


@pytest.mark.parametrize(
    ("compression", "level", "message"),
    [
        ("lzma", None, "want one of gzip, zstd"),
        ("gzip", 10, "gzip has 1 to 9"),
        ("zstd", 20, "zstd has 1 to 19"),
        ("zstd", 0, "zstd has 1 to 19"),
        (None, 1, "nothing is compressed"),
    ],
)
def test_what_there_is_not_is_refused(compression: str | None, level: int | None, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        check_level(compression, level)


def test_threads_end_when_it_is_closed_half_way(mixed: bytes) -> None:
    import threading

    before = threading.active_count()
    packer = compressor("gzip", bytearray().__iadd__, threads=2, subject="x")
    packer.write(mixed)

    packer.close()

    assert threading.active_count() == before


def test_an_error_of_the_writer_below_comes_through(mixed: bytes) -> None:
    class Full(Exception):
        pass

    def take(data: object) -> None:
        if len(data) > 100:  # type: ignore[arg-type]  # bytes
            raise Full

    packer = compressor("gzip", take, threads=2, subject="x")

    with pytest.raises(Full):
        packer.write(mixed)
        packer.finish()
    packer.close()


def test_a_python_without_zstd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(b"x", "zstd")
    for name in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(Unimplemented, match="layer x: zstd needs"):
        unpack(packed)


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.parametrize("compression", BOTH)
def test_the_usual_programs_read_it(compression: str, mixed: bytes, peer: Callable[[str], str]) -> None:
    packed = pack(mixed, compression, threads=2)

    done = subprocess.run([peer(compression), "-dc"], input=packed, capture_output=True, check=True)

    assert done.stdout == mixed


_PLAIN = random.Random(5).randbytes(3000) + bytes(5000)
_BODY = gzip.compress(_PLAIN, mtime=0)[10:]


def _head(flags: int, rest: bytes = b"") -> bytes:
    head = b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\xff" + rest
    return head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") if flags & 2 else head


HEADS = {
    "plain": _head(0),
    "text": _head(1),
    "name": _head(8, b"layer.tar\0"),
    "everything": _head(31, b"\4\0abcd" + b"name\0" + b"comment\0"),
    "large": _head(4, b"\xff\xff" + bytes(65535)),
}


class Steps:
    """An Input that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._source = io.BytesIO(data)
        self._step = step

    def readinto(self, buffer: memoryview, /) -> int:
        return self._source.readinto(buffer[: self._step])


def _all(source: Decompressed, room: int) -> bytes:
    space, out = memoryview(bytearray(room)), b""
    while size := source.readinto(space):
        out += space[:size]
    return out


@pytest.mark.parametrize("head", list(HEADS.values()), ids=list(HEADS))
@pytest.mark.parametrize("step", [1, 3, 11, 1000, 1 << 20])
def test_gzip_headers_are_read_in_whatever_pieces_they_come(head: bytes, step: int) -> None:
    step = max(step, len(head) // 100)
    data = head + _BODY + head + _BODY + bytes(7)

    assert _all(Decompressed(Steps(data, step), subject="layer"), 1000) == 2 * _PLAIN


@pytest.mark.parametrize(
    "head", [b"\x1f\x8b\x07" + bytes(7), _head(32), _head(2)[:-2] + b"xx", _head(8, b"n" * (1 << 20))]
)
def test_a_gzip_header_that_is_none_is_damage(head: bytes) -> None:
    with pytest.raises(DataLoss, match="layer: damaged gzip data"):
        _all(Decompressed(io.BytesIO(head + _BODY), subject="layer"), 1000)


@pytest.mark.parametrize("end", range(1, 12))
def test_a_gzip_member_without_its_last_bytes_is_too_short(end: int) -> None:
    data = _head(0) + _BODY

    with pytest.raises(DataLoss, match="layer: the end is missing of its gzip data"):
        _all(Decompressed(io.BytesIO(data[:-end]), subject="layer"), 1000)
