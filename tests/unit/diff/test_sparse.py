"""Sparse members: holes are holes again, zeros where nobody can have holes, and bad maps are refused."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.diff.applied_trees import lay, layer, member
from tests.unit.diff.applied_uppers import stacked

from distore.diff import tarsparse
from distore.diff.overlaytar import LayerTar, merged
from distore.diff.tarheader import summed
from distore.errors import DataLoss, DistoreError, ResourceExhausted, Unimplemented

MIB = 1024 * 1024
MAP = [(0, 3), (4096, 5), (MIB, 2)]
DATA = b"abcdefghij"
SIZE = 4 * MIB
CONTENT = b"abc" + bytes(4093) + b"defgh" + bytes(MIB - 4101) + b"ij" + bytes(SIZE - MIB - 2)


def old(pairs: list[tuple[int, int]], size: int, data: bytes) -> bytes:
    """The format of the header itself, GNU tar's own."""
    fields = [b"%011o\0%011o\0" % pair for pair in pairs]
    block = bytearray(member("f", tarfile.GNUTYPE_SPARSE)[:512])
    block[257:265] = b"ustar  \0"
    block[124:136] = b"%011o\0" % len(data)
    block[386:482] = b"".join(fields[:4]).ljust(96, b"\0")
    block[482:495] = bytes([len(fields) > 4]) + b"%011o\0" % size
    block[148:156] = b" " * 8
    out = summed(bytes(block))
    for start in range(4, len(fields), 21):
        more = start + 21 < len(fields)
        out += b"".join(fields[start : start + 21]).ljust(504, b"\0") + bytes([more]) + bytes(7)
    return out + data + bytes(-len(data) % 512)


def pax(records: list[tuple[str, object]], data: bytes) -> bytes:
    """A member with pax records, also those that come again."""
    said = b"".join(record(f"GNU.sparse.{key}={value}\n".encode()) for key, value in records)
    return member("x", tarfile.XHDTYPE, data=said) + member("GNUSparseFile.1/f", data=data)


def record(text: bytes) -> bytes:
    length = len(text) + 2
    while len(b"%d " % length) + len(text) != length:
        length += 1
    return b"%d %s" % (length, text)


def v00(pairs: list[tuple[int, int]], size: int, data: bytes) -> bytes:
    each = [(key, n) for pair in pairs for key, n in zip(("offset", "numbytes"), pair, strict=True)]
    return pax([("size", size), ("numblocks", len(pairs)), *each, ("name", "f")], data)


def v01(pairs: list[tuple[int, int]], size: int, data: bytes) -> bytes:
    text = ",".join(f"{offset},{length}" for offset, length in pairs)
    return pax([("size", size), ("name", "f"), ("map", text)], data)


def v10(pairs: list[tuple[int, int]], size: int, data: bytes) -> bytes:
    text = "".join(f"{n}\n" for n in (len(pairs), *(n for pair in pairs for n in pair))).encode()
    head = [("major", 1), ("minor", 0), ("name", "f"), ("realsize", size)]
    return pax(head, text + bytes(-len(text) % 512) + data)


FORMATS = {"old": old, "0.0": v00, "0.1": v01, "1.0": v10}
formats = pytest.mark.parametrize("form", list(FORMATS))


@formats
def test_the_file_has_its_holes_again(tmp_path: Path, form: str) -> None:
    lay(tmp_path, layer(FORMATS[form](MAP, SIZE, DATA), member("after", data=b"x")))

    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (tmp_path / "f").stat().st_blocks * 512 < MIB
    assert (tmp_path / "after").read_bytes() == b"x"
    assert sorted(os.listdir(tmp_path)) == ["after", "f"]
    assert os.listxattr(tmp_path / "f") == []


@formats
def test_maps_of_many_pieces_are_read(tmp_path: Path, form: str) -> None:
    pairs = [(number * 8192, 7) for number in range(300)]
    data = b"".join(b"%7d" % number for number in range(300))

    lay(tmp_path, layer(FORMATS[form](pairs, 300 * 8192, data)))

    content = (tmp_path / "f").read_bytes()
    assert len(content) == 300 * 8192
    assert b"".join(content[at : at + 7] for at, _ in pairs) == data


@formats
def test_a_file_of_one_hole_is_one(tmp_path: Path, form: str) -> None:
    lay(tmp_path, layer(FORMATS[form]([(SIZE, 0)], SIZE, b"")))

    assert (tmp_path / "f").stat().st_size == SIZE
    assert (tmp_path / "f").stat().st_blocks == 0


@formats
def test_layers_merged_have_the_zeros(tmp_path: Path, form: str) -> None:
    data = layer(FORMATS[form](MAP, SIZE, DATA), member("after", data=b"x"))

    @contextmanager
    def opened() -> Iterator[Iterator[bytes]]:
        yield iter([data])

    flat = b"".join(bytes(piece) for piece in merged([LayerTar(subject="layer", open=opened)]))

    lay(tmp_path, flat)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (tmp_path / "after").read_bytes() == b"x"


BAD = {
    "pieces that overlap": ([(0, 5), (4, 5)], 100, b"1234567890"),
    "pieces out of order": ([(50, 5), (4, 5)], 100, b"1234567890"),
    "pieces behind the end": ([(0, 5), (96, 5)], 100, b"1234567890"),
    "more bytes than pieces": ([(0, 5)], 100, b"1234567890"),
    "fewer bytes than pieces": ([(0, 50)], 100, b"1234567890"),
}


@formats
@pytest.mark.parametrize("bad", list(BAD))
def test_a_bad_map_is_damage(tmp_path: Path, form: str, bad: str) -> None:
    with pytest.raises(DataLoss, match="layer: damaged: bad map of a sparse member"):
        lay(tmp_path, layer(FORMATS[form](*BAD[bad])))


@formats
def test_a_map_of_too_many_pieces_is_refused(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarsparse, "MAX_MAP", 30)
    pairs = [(number * 10, 1) for number in range(31)]

    with pytest.raises(ResourceExhausted, match="layer: a sparse member of over 30 pieces"):
        lay(tmp_path, layer(FORMATS[form](pairs, 1000, bytes(31))))


@formats
def test_a_file_larger_than_any_file_system_has_is_refused(tmp_path: Path, form: str) -> None:
    size = 8**11 - 1 if form == "old" else 10**18

    data = layer(FORMATS[form]([(size, 0)], size, b""))

    if form == "old":  # which has no larger numbers of this kind; 8 GiB are one hole
        lay(tmp_path, data)
    else:
        with pytest.raises(DistoreError, match="layer: 'f': "):
            lay(tmp_path, data)


@pytest.mark.parametrize("size", [1 << 63, 10**19 - 1])
@pytest.mark.parametrize("form", ["0.0", "0.1", "1.0"])
def test_a_size_that_no_system_can_count_to_is_damage(tmp_path: Path, form: str, size: int) -> None:
    with pytest.raises(DataLoss, match="layer: damaged: bad map of a sparse member"):
        lay(tmp_path, layer(FORMATS[form]([(0, 0)], size, b"")))


def test_a_link_to_a_file_of_holes_below_copies_no_holes(tmp_path: Path) -> None:
    size = 1 << 42
    below = layer(v10([(0, 3), (MIB, 7), (size, 0)], size, DATA))

    upper, _ = stacked(tmp_path, [below, layer(member("l", tarfile.LNKTYPE, "f"))], alone=False)

    info = (upper / "l").stat()
    assert (info.st_size, info.st_nlink) == (size, 2)
    assert info.st_blocks * 512 < MIB
    with open(upper / "f", "rb") as file:
        assert file.read(3) == b"abc"
        assert os.pread(file.fileno(), 9, MIB - 1) == b"\0defghij\0"


def test_zeros_have_a_limit_where_there_are_no_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distore.diff.tarmember.MAX_ZEROS", MIB)
    data = layer(v10(MAP, SIZE, DATA))

    @contextmanager
    def opened() -> Iterator[Iterator[bytes]]:
        yield iter([data])

    with pytest.raises(ResourceExhausted, match="layer: its sparse members have over 1048576 bytes of holes"):
        list(merged([LayerTar(subject="layer", open=opened)]))


@pytest.mark.parametrize(
    ("records", "says", "error"),
    [
        ([("major", 2), ("minor", 0)], "of an unknown version", Unimplemented),
        ([("major", "x")], "of an unknown version", Unimplemented),
        ([("offset", 1), ("offset", 2)], "bad sparse map in pax records", DataLoss),
        ([("size", 5), ("map", "1,x")], "bad map of a sparse member", DataLoss),
        ([("size", "-5"), ("map", "0,0")], "bad map of a sparse member", DataLoss),
        ([("major", 1), ("minor", 0), ("realsize", 5)], "truncated", DataLoss),
    ],
)
def test_strange_records_are_refused(
    tmp_path: Path, records: list[tuple[str, object]], says: str, error: type[DistoreError]
) -> None:
    with pytest.raises(error, match=says):
        lay(tmp_path, pax(records, b""))
