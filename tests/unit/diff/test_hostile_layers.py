"""Hostile layers: what containers' tools were broken with, and what takes all there is."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from tests.unit.diff.applied_trees import lay, layer, member
from tests.unit.diff.overlay_layers import Entry, tar_of

from distore.errors import DataLoss, FailedPrecondition, ResourceExhausted

LINK, HARD, FOLDER = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder beside a file that no layer may change."""
    (tmp_path / "secret").write_text("safe")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("safe")
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def untouched(root: Path) -> bool:
    outside = root.parent / "outside"
    names = sorted(path.name for path in root.parent.iterdir())
    return (
        names == ["outside", "root", "secret"]
        and (root.parent / "secret").read_text() == "safe"
        and (root.parent / "secret").stat().st_nlink == 1
        and [path.name for path in outside.iterdir()] == ["file"]
        and (outside / "file").read_text() == "safe"
    )


def file(path: str, seed: int = 1) -> Entry:
    return Entry("file", path, seed=seed)


ESCAPES = {
    "a link, then a file through it": [member("l", LINK, "../outside"), member("l/file", data=b"bad")],
    "a link to a link": [member("a", LINK, "../.."), member("b", LINK, "a/outside"), member("b/file")],
    "a file over a link": [member("l", LINK, "../secret"), member("l", data=b"bad")],
    "a folder over a link": [member("l", LINK, "../outside"), member("l", FOLDER, mode=0)],
    "a whiteout through a link": [member("l", LINK, "../outside"), member("l/.wh.file")],
    "opaque through a link": [member("l", LINK, "../outside"), member("l/.wh..wh..opq")],
    "a folder that becomes a link": [
        member("d", FOLDER),
        member("d/x"),
        member("d", LINK, "../outside"),
        member("d/file", data=b"bad"),
    ],
    "an absolute name": [member("/secret", data=b"bad")],
    "mode and time of a link": [member("l", LINK, "../secret", mode=0, uid=9, mtime=1)],
    "dots that stay inside": [member("a/../secret", data=b"bad")],
    "the dots of links": [member("l", LINK, "../../../../../../.."), member("l/secret", data=b"bad")],
}


@pytest.mark.parametrize("parts", list(ESCAPES.values()), ids=list(ESCAPES))
@pytest.mark.parametrize("split", [False, True], ids=["one layer", "a layer each"])
def test_no_link_leads_out_of_the_folder(root: Path, parts: list[bytes], split: bool) -> None:
    for data in parts if split else [b"".join(parts)]:
        lay(root, layer(data))

    assert untouched(root)


def test_an_absolute_link_leads_into_the_folder(root: Path) -> None:
    outside = root.parent / "outside"

    lay(root, layer(member("l", LINK, str(outside)), member("l/file", data=b"bad")))

    assert untouched(root)
    assert (root / str(outside).lstrip("/") / "file").read_bytes() == b"bad"


REFUSED = {
    "leads out": ([member("../secret", data=b"bad")], "leads out of the image"),
    "leads out later": ([member("a/../../secret")], "leads out of the image"),
    "only dots": ([member("..", FOLDER)], "leads out of the image"),
    "hard link out": ([member("a", HARD, "../secret")], "leads out of the image"),
    "hard link to a file of the system": ([member("a", HARD, "/etc/passwd")], "which is not there"),
    "hard link through a link": (
        [member("l", LINK, "../outside"), member("a", HARD, "l/file")],
        "which is not there",
    ),
    "hard link to a folder": ([member("d", FOLDER), member("a", HARD, "d")], "which is no file"),
    "hard link to the root": ([member("a", HARD, "/")], "which is no file"),
    "whiteout of dots": ([member("a/.wh...")], "a whiteout of nothing"),
    "whiteout of a dot": ([member("a/.wh..")], "a whiteout of nothing"),
    "whiteout of no name": ([member(".wh.")], "a whiteout of nothing"),
    "a folder named as a whiteout": ([member(".wh.d/x")], "in a folder named as a whiteout"),
    "a NUL": ([member("x", pax_headers={"path": "a\0b"})], "a path with a NUL"),
    "a link with a NUL": ([member("x", LINK, "y", pax_headers={"linkpath": "a\0b"})], "with a NUL"),
    "links in a circle": (
        [member("a", LINK, "b"), member("b", LINK, "a"), member("a/x")],
        "too many links on the way to 'a'",
    ),
    "a link as the root": ([member("./", LINK, "../outside")], "its root is no folder"),
    "a part of 256 bytes": ([member("n" * 256)], "file name too long"),
}


@pytest.mark.parametrize(("parts", "says"), list(REFUSED.values()), ids=list(REFUSED))
def test_what_no_image_needs_is_refused(root: Path, parts: list[bytes], says: str) -> None:

    with pytest.raises((FailedPrecondition, DataLoss), match=says):
        lay(root, layer(*parts))

    assert untouched(root)


def test_a_hard_link_to_a_symbolic_link_is_one_to_the_link_itself(root: Path) -> None:
    lay(root, layer(member("l", LINK, "../secret"), member("a", HARD, "l")))

    assert os.readlink(root / "a") == "../secret"
    assert untouched(root)


def test_more_members_or_bytes_than_allowed_are_refused(root: Path) -> None:
    data = tar_of([file("a"), file("b"), file("c")])

    with pytest.raises(ResourceExhausted, match="layer: more than 2 members"):
        lay(root, data, max_entries=2)
    with pytest.raises(ResourceExhausted, match="layer: unpacks to more than 600 bytes"):
        lay(root, data, max_size=600)


@pytest.mark.parametrize("end", [0, 10, 511, 600, 1500])
def test_a_truncated_layer_is_refused(root: Path, end: int) -> None:
    with pytest.raises((DataLoss, FailedPrecondition), match=r"truncated|not a tar file"):
        lay(root, tar_of([file("a", 49), file("b", 49)])[:end])


@pytest.mark.slow
def test_folders_as_deep_as_a_name_may_be_come_and_go(root: Path) -> None:
    deep = "d/" * 1900 + "x"

    lay(root, layer(member(deep)))
    lay(root, layer(member(".wh.d")))

    assert [*root.iterdir()] == []


def test_a_link_makes_no_path_that_nobody_can_open(root: Path) -> None:
    deep = "n" * 200 + "/"
    far = (deep * 19)[:-1]
    parts = [member(far, FOLDER), member("l", LINK, far), member("l/" + deep * 10 + "x")]

    with pytest.raises(ResourceExhausted, match="a path of over 4095 bytes"):
        lay(root, layer(*parts))


def test_names_in_no_known_encoding_are_kept_byte_for_byte(root: Path) -> None:
    lay(root, layer(raw(b"a\xff")))

    assert os.listdir(os.fsencode(root)) == [b"a\xff"]


def raw(name: bytes) -> bytes:
    head = tarfile.TarInfo("x" * len(name)).tobuf(tarfile.USTAR_FORMAT)
    block = name + head[len(name) : 148] + b" " * 8 + head[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_hundred_thousand_names_in_one_folder_are_made(root: Path) -> None:
    one = member("d/" + "0" * 6)

    def named(number: int) -> bytes:
        block = b"d/%06d" % number + one[8:148] + b" " * 8 + one[156:]
        return block[:148] + b"%06o\0 " % sum(block) + block[156:]

    lay(root, layer(*(named(number) for number in range(100_000))))

    assert len(os.listdir(root / "d")) == 100_000
