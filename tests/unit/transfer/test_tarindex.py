"""What hostile and damaged tar files come to, read as OCI archives."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.ends_images import (
    archive,
    changed,
    contents,
    link,
    members,
)

from distore.errors import (
    DataLoss,
    DistoreError,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from distore.transfer import tarindex
from distore.transfer.archive import OciArchiveOrigin

if TYPE_CHECKING:
    from pathlib import Path


def origin(path: Path, tag: str | None = None) -> OciArchiveOrigin:
    return OciArchiveOrigin(str(path), tag)


def test_names_that_lead_out_are_nothing_and_nothing_is_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    index = b'{"schemaVersion":2,"manifests":[]}'
    names = ("/index.json", "../index.json", "a/../index.json", "./../index.json", "index.json/", "x" * 3000)

    path = changed(
        home / "a",
        *((name, index) for name in names),
        link("blobs/sha256", "/etc"),
        link("oci-layout", "/etc/passwd"),
    )

    with origin(path, "v1") as end:
        assert len(contents(end)) == 5
    assert list(tmp_path.rglob("*")) == [home, path]


def test_a_link_in_place_of_a_blob_or_the_index_leads_nowhere_outside(tmp_path: Path) -> None:
    for target in ("/etc/passwd", "../../../etc/passwd", "index.json"):
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            path = changed(tmp_path / "a", link("index.json", target, kind), without="index.json")

            with origin(path) as end, pytest.raises(FailedPrecondition):
                end.resolve()
            path.unlink()


def test_a_blob_twice_is_refused_when_the_sizes_differ(tmp_path: Path) -> None:
    name, data = next(iter(members(archive(tmp_path / "a")).items()))
    (tmp_path / "a").unlink()

    same = changed(tmp_path / "same", (name, bytes(len(data))))
    with origin(same) as end:
        assert len(contents(end)) == 5  # the first one counts
    with pytest.raises(FailedPrecondition, match="twice"):
        origin(changed(tmp_path / "other", (name, data + b"x")))


@pytest.mark.slow
def test_a_truncated_archive_is_refused_or_holds_the_whole_image(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a").read_bytes()
    read_until = whole.index(b"imageLayoutVersion") - 1024  # behind it only oci-layout and padding

    for size in range(0, len(whole), 509):
        (tmp_path / "cut").write_bytes(whole[:size])
        try:
            with origin(tmp_path / "cut") as end:
                assert len(contents(end)) == 5
        except (DataLoss, FailedPrecondition):
            continue
        assert size >= read_until


@pytest.mark.slow
def test_random_damage_never_escapes_as_another_error(tmp_path: Path) -> None:
    import random

    whole = bytearray(archive(tmp_path / "a").read_bytes())
    numbers = random.Random(7)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(3):
            block = numbers.randrange(len(data) // 512) * 512
            data[block + numbers.randrange(512)] = numbers.randrange(256)
        (tmp_path / "b").write_bytes(data)
        try:
            with origin(tmp_path / "b") as end:
                end.resolve()
        except DistoreError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 2000, bytes(2000), b"\x1f\x8b" + bytes(500), b"{}" * 300])
def test_what_is_no_archive_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)

    with pytest.raises((FailedPrecondition, DataLoss)):
        origin(tmp_path / "a").resolve()


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(FailedPrecondition, match="not a regular file"):
            origin(path)
    with pytest.raises(NotFound):
        origin(tmp_path / "nothing")


def test_large_extensions_and_too_many_members_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tarfile.TarInfo("x")
    for kind in (b"L", b"K", b"x", b"g"):
        info.type, info.size = kind, 1 << 40
        (tmp_path / "a").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
        with pytest.raises(ResourceExhausted, match="extension"):
            origin(tmp_path / "a")

    monkeypatch.setattr(tarindex, "MAX_MEMBERS", 3)
    with pytest.raises(ResourceExhausted, match="over 3 members"):
        origin(archive(tmp_path / "b"))


def test_sizes_below_zero_or_past_the_end_and_sparse_members_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("index.json")
    for size in (-512, 1 << 62, 5000):
        info.size = size
        (tmp_path / "a").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
        with pytest.raises(DataLoss, match="truncated"):
            origin(tmp_path / "a")

    info.size, info.type = 0, b"S"
    (tmp_path / "a").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(Unimplemented, match="sparse"):
        origin(tmp_path / "a")


@pytest.mark.parametrize(
    "records",
    [b"5 a=b", b"0 path=x\n", b"99 path=x\n", b"path", b"9" * 20, b"12 size=-99\n", b"14 size=9e999\n"],
)
def test_bad_pax_records_are_data_loss(records: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", len(records)
    data = info.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0")
    (tmp_path / "a").write_bytes(data + tarfile.TarInfo("y").tobuf() + bytes(1024))

    with pytest.raises(DataLoss, match="pax"):
        origin(tmp_path / "a")


def test_pax_archives_are_read(tmp_path: Path) -> None:
    found = members(archive(tmp_path / "a"))
    with tarfile.open(tmp_path / "b", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as tar:
        for name, data in found.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.pax_headers = len(data), {"path": f"./{name}", "mtime": "1.5"}
            tar.addfile(info, io.BytesIO(data))

    with origin(tmp_path / "b", "v1") as end:
        assert len(contents(end)) == 5
