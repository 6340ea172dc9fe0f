"""TarStream: the members of a tar file in whatever pieces it comes, and what is no tar file."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.ends_images import link
from tests.unit.transfer.import_archives import Target
from tests.unit.transfer.test_hostile_archives import member, record

from distore.errors import (
    DataLoss,
    DiskFull,
    DistoreError,
    FailedPrecondition,
    ResourceExhausted,
    Unimplemented,
)
from distore.transfer.tarindex import MAX_EXTENSION
from distore.transfer.tarstream import TarStream


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (member("x", record("path", "y") + bytes(0), b"x")[:512], DataLoss),
        (member("pax", b"x" * (MAX_EXTENSION + 1), b"x"), ResourceExhausted),
        (member("x", b"bytes", b"S"), Unimplemented),
        (member("pax", b"nonsense", b"x"), DataLoss),
        (b"not a tar file at all" * 100, FailedPrecondition),
        (b"short", FailedPrecondition),
        (b"", FailedPrecondition),
        (bytes(1024), FailedPrecondition),
    ],
    ids=["cut pax", "huge pax", "sparse", "bad pax", "no tar", "short", "empty", "zeros"],
)
def test_a_bad_tar_stream_is_one_error(data: bytes, kind: type[DistoreError]) -> None:
    with pytest.raises(kind):
        Target().take(io.BytesIO(data))


@pytest.mark.parametrize("size", [-1, -(2**60), 2**62])
def test_a_size_that_cannot_be_is_an_error(size: int) -> None:
    info = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
    info.size = size
    block = info.tobuf(tarfile.GNU_FORMAT)

    with pytest.raises((DataLoss, DiskFull)):
        Target().take(io.BytesIO(block + bytes(1024)))


class Seen:
    """A Taker that keeps what it gets."""

    def __init__(self) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.links: list[tuple[str, str | None]] = []
        self._open: tuple[str, int, bytearray] | None = None

    def begin(self, name: str, size: int, /) -> None:
        assert self._open is None
        self._open = (name, size, bytearray())

    def take(self, data: bytes | memoryview, /) -> None:
        assert self._open is not None
        self._open[2].extend(data)

    def end(self) -> None:
        assert self._open is not None
        name, size, data = self._open
        assert len(data) == size
        self.files.append((name, bytes(data)))
        self._open = None

    def link(self, name: str, target: str | None, /) -> None:
        self.links.append((name, target))


@settings(max_examples=60, deadline=None)
@given(
    members=st.lists(
        st.tuples(st.text("abc\u00e9", min_size=1, max_size=150), st.binary(max_size=1500)), max_size=6
    ),
    step=st.integers(1, 3000),
    kind=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_a_tar_stream_in_any_pieces_has_the_members_of_the_file(
    members: list[tuple[str, bytes]], step: int, kind: int
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, content in [*members, ("last", b"1")]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        tar.addfile(link("a/link", "../last"))
    seen = Seen()
    stream = TarStream(seen, subject="x")

    data = out.getvalue()
    for at in range(0, len(data), step):
        stream.feed(data[at : at + step])
    stream.finish()

    assert seen.files == [*members, ("last", b"1")]
    assert seen.links == [("a/link", "last")]
    assert stream.ended
