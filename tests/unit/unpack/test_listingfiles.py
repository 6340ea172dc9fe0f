"""Listings kept in files: read again as they were, or not at all."""

from __future__ import annotations

import json
import os
import tarfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.unit.diff.applied_trees import layer, member
from tests.unit.diff.overlay_layers import Entry, tar_of
from tests.unit.unpack.layered import layers_of, opened, put_image

from distore.content.memory import MemoryStore
from distore.diff.tarmember import members
from distore.errors import DataLoss, DistoreError
from distore.unpack import listingfiles
from distore.unpack.listing import Listing, read_listing
from distore.unpack.listingfiles import ListingFiles


@pytest.fixture
def kept(tmp_path: Path) -> ListingFiles:
    return ListingFiles(str(tmp_path / "listings"), is_kept=lambda _algorithm, _encoded: True)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def odd() -> bytes:
    """Everything that a listing has a place for."""
    xattr = tarfile.TarInfo("x")
    xattr.pax_headers = {"SCHILY.xattr.user.a": "\udcff\n", "mtime": "12.5", "path": "long/" * 60 + "é"}
    return layer(
        member("\udcff\n'", data=b"a" * 700, uid=7, gid=8, mode=0o4711, mtime=99, uname="me", gname="us"),
        xattr.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"),
        member("s", tarfile.SYMTYPE, "\udcfe"),
        member("h", tarfile.LNKTYPE, "s"),
        member("c", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("./", tarfile.DIRTYPE),
        member("empty"),
    )


def listing_of(data: bytes) -> tuple[MemoryStore, Listing]:
    store = MemoryStore()
    image = layers_of(store, put_image(store, data))
    return store, read_listing(store, image.layers[0], image.diff_ids[0])


def test_a_listing_comes_back_as_it_was(kept: ListingFiles) -> None:
    store = MemoryStore()
    image = layers_of(store, put_image(store, odd()))
    pair = image.layers[0], image.diff_ids[0]
    listing = read_listing(store, *pair)

    kept.put(*pair, listing)

    again = kept.get(*pair)
    assert again is not None
    assert (list(again.members), list(again.starts)) == (list(listing.members), list(listing.starts))


def test_a_member_can_be_read_again_from_where_it_begins() -> None:
    _, listing = listing_of(odd())

    for start, expected in zip(listing.starts, listing.members, strict=True):
        assert next(members([odd()[start:]], subject="x")) == expected


def test_a_second_look_reads_no_layer(kept: ListingFiles) -> None:
    store = MemoryStore()
    root = put_image(store, odd(), tar_of([Entry("file", "a", seed=1)]))
    first = opened(store, root, kept=kept)
    for one in first.image.layers:
        store.delete(one.digest)
    read: list[int] = []

    again = type(first)(store, first.image, kept=kept, subject="image x", watch=read.append)

    assert list(again.tree.walk()) == list(first.tree.walk())
    assert read == []


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-3],
    "flipped": lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
    "of another version": lambda data: data.replace(b"listing 1", b"listing 2"),
    "of another size": lambda data: data.replace(b" 1 ", b" 1 9"),
    "no JSON": lambda data: data.partition(b"\n")[0] + b"\n" + zlib.compress(b"{"),
}


def packed(document: object, data: bytes) -> bytes:
    return data.partition(b"\n")[0] + b"\n" + zlib.compress(json.dumps(document).encode())


META = [0, 0, 0, 0, "", ""]
for number, document in enumerate(
    (
        {},
        [[], [["a", "0", 0, 0, 0, ""]]],
        [[META], [["a/../../b", "0", 0, 0, 0, ""]]],
        [[META], [["/a", "0", 0, 0, 0, ""]]],
        [[META], [["a", "0", 0, -1, 0, ""]]],
        [[META], [["a", 0, 0, 0, 0, ""]]],
        [[META], [[7, "0", 0, 0, 0, ""]]],
        [[[*META, "key"]], []],
        [[META], [["a", "0", 0, 0, "many", ""]]],
        [[["mode", 0, 0, 0, "", ""]], []],
    )
):
    DAMAGE[f"document {number}"] = partial(packed, document)


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_made_anew(kept: ListingFiles, tmp_path: Path, damage: str) -> None:
    store = MemoryStore()
    root = put_image(store, tar_of([Entry("file", "a", seed=1)]))
    whole = list(opened(store, root, kept=kept).tree.walk())
    (path,) = files_in(tmp_path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))

    assert kept.get(layers_of(store, root).layers[0], layers_of(store, root).diff_ids[0]) is None
    assert list(opened(store, root, kept=kept).tree.walk()) == whole


def test_a_listing_that_lies_gives_no_wrong_bytes(kept: ListingFiles, tmp_path: Path) -> None:
    store = MemoryStore()
    root = put_image(store, layer(member("a", data=b"1"), member("b", data=b"2")))
    opened(store, root, kept=kept)
    (path,) = files_in(tmp_path)
    meta = [0o644, 0, 0, 0, "", ""]
    for rows in (
        [["a", "0", 0, 2, 1, ""], ["b", "0", 0, 0, 1, ""]],
        [["a", "0", 0, 1, 1, ""], ["b", "0", 0, 1 << 40, 1, ""]],
        [["a", "0", 0, 0, 2, ""], ["b", "0", 0, 2, 9, ""]],
    ):
        path.write_bytes(packed([[meta], rows], path.read_bytes()))
        files = opened(store, root, kept=kept)
        for name in "ab":
            with pytest.raises(DataLoss, match="not where its listing says"):
                files.read(name)


def test_listings_of_layers_that_are_gone_go(tmp_path: Path) -> None:
    store, names = MemoryStore(), set[str]()
    kept = ListingFiles(str(tmp_path / "listings"), is_kept=lambda _algorithm, encoded: encoded in names)
    one, two = (put_image(store, tar_of([Entry("file", "a", seed=seed)])) for seed in (1, 2))
    names.add(layers_of(store, one).layers[0].digest.encoded)
    opened(store, one, kept=kept)
    dead = tmp_path / "listings" / "sha256" / "0.partial-999999999-1"
    dead.write_bytes(b"")
    assert len(files_in(tmp_path)) == 2

    names.clear()
    names.add(layers_of(store, two).layers[0].digest.encoded)
    opened(store, two, kept=kept)

    assert [path.name for path in files_in(tmp_path)] == list(names)


def test_a_folder_that_takes_no_files_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "listings").write_text("a file")
    kept = ListingFiles(str(tmp_path / "listings"), is_kept=lambda _algorithm, _encoded: True)
    store = MemoryStore()
    root = put_image(store, tar_of([Entry("file", "a", seed=1)]))

    assert opened(store, root, kept=kept).read("a") == b"a 1" * 2
    assert os.listdir(tmp_path) == ["listings"]


def test_what_is_too_large_is_not_kept(
    kept: ListingFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listingfiles, "_MAX_FILE", 100)
    store = MemoryStore()

    opened(store, put_image(store, tar_of([Entry("file", "a", seed=1)])), kept=kept)

    assert files_in(tmp_path) == []


def test_a_layer_with_too_many_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MAX_MEMBERS", "MAX_CHARACTERS", "MAX_RECORDS"):
        with monkeypatch.context() as patch:
            patch.setattr(f"distore.unpack.listing.{limit}", 1)
            with pytest.raises(DistoreError, match="more names and records than a listing should hold"):
                listing_of(tar_of([Entry("file", "ab", seed=1)] * 2))
