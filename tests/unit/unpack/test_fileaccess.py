"""Files of an image: the same that applying its layers makes, without doing so."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from tests.unit.diff.applied_trees import lay, layer, member, seen
from tests.unit.diff.overlay_layers import Entry, stacks, tar_of
from tests.unit.unpack.layered import files_of, layers_of, opened, put_image

from distore.content.memory import MemoryStore
from distore.errors import DataLoss, DistoreError, FailedPrecondition, InvalidArgument, NotFound
from distore.unpack.fileaccess import LayerFiles
from distore.unpack.filetree import FileInfo, FileKind

WORDS = {FileKind.FILE: "file", FileKind.FOLDER: "dir", FileKind.SYMLINK: "sym", FileKind.FIFO: "fifo"}


def told(files: LayerFiles) -> dict[str, tuple[object, ...]]:
    """The tree in the terms of ``applied_trees.seen``."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[object, str] = {}
    for info in files.tree.walk():
        if info.path == "/":
            continue
        name, is_file = info.path[1:], info.kind is FileKind.FILE
        seed = info.xattrs.get("user.seed")
        found[name] = (
            WORDS[info.kind],
            None if info.kind is FileKind.SYMLINK else stat.S_IMODE(info.mode),
            *((info.uid,) if os.geteuid() == 0 else ()),
            info.mtime / 1e9,
            seed.decode() if seed is not None and is_file else None,
            files.read(info.path) if is_file else b"",
            info.link or "",
            name if info.kind is FileKind.FOLDER else first.setdefault(info.place, name),
        )
    return found


@settings(max_examples=60, deadline=None)
@given(stacks)
@pytest.mark.slow
def test_the_tree_is_the_one_that_applying_the_layers_makes(stack: list[list[Entry]]) -> None:
    layers = [tar_of(entries) for entries in stack]
    with tempfile.TemporaryDirectory() as folder:
        try:
            for each in layers:
                lay(Path(folder), each)
            files = files_of(*layers)  # which minds a whiteout behind links in a circle always
        except DistoreError:
            assume(False)

        assert told(files) == seen(Path(folder))


def image(*entries: Entry, below: tuple[Entry, ...] = ()) -> LayerFiles:
    return files_of(*([tar_of(below)] if below else []), tar_of(entries))


def test_a_file_is_read_from_the_highest_layer_that_has_it() -> None:
    files = image(Entry("file", "a", seed=2), below=(Entry("file", "a", seed=1), Entry("file", "b", seed=3)))

    assert files.read("/a") == b"a 2" * 3
    assert files.read("b") == b"b 3" * 4
    assert files.tree.stat("/a").place != files.tree.stat("/b").place


@pytest.mark.parametrize("packed", [(), (0,)])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 5_000_000])
def test_an_open_file_goes_forth_and_back(size: int, packed: tuple[int, ...]) -> None:
    data = bytes(os.urandom(1000)) * (size // 1000 + 1)
    data = data[:size]
    files = files_of(layer(member("before", data=b"x" * 700), member("f", data=data)), packed=packed)

    with files.open("/f") as file:
        assert file.read() == data
        assert file.seek(-size // 2, io.SEEK_END) == size + -size // 2
        assert file.read(10) == data[size + -size // 2 :][:10]
        assert file.seek(0) == 0
        assert file.read(3) == data[:3]
        file.seek(size + 10)
        assert file.read() == b""


def test_links_are_followed_within_the_image_alone() -> None:
    files = image(
        Entry("dir", "etc"),
        Entry("file", "etc/passwd", seed=1),
        Entry("sym", "up", "../../../etc/passwd"),
        Entry("sym", "absolute", "/etc"),
        Entry("sym", "gone", "/nowhere"),
    )

    assert files.tree.real("/absolute/../up") == "/etc/passwd"
    assert files.read("/absolute/passwd") == files.read("/up") == b"etc/passwd 1" * 2
    assert files.tree.stat("/up", follow=False).link == files.tree.readlink("/up") == "../../../etc/passwd"
    with pytest.raises(NotFound, match="'/nowhere' is not there"):
        files.read("/gone")


def test_links_that_lead_to_each_other_end() -> None:
    files = image(Entry("sym", "a", "b"), Entry("sym", "b", "a"), Entry("sym", "c", "c/c/c"))

    for path in ("/a", "/c", "/a/b"):
        with pytest.raises(FailedPrecondition, match="too many links"):
            files.tree.stat(path)
    assert not files.tree.exists("/a")


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("/none", NotFound, "image x: '/none' is not there"),
        ("/d", FailedPrecondition, "'/d' is a folder, want a file"),
        ("/f/x", FailedPrecondition, "'/f' is no folder"),
        ("/f/", FailedPrecondition, "'/f' is no folder"),
        ("/p", FailedPrecondition, "'/p' is a fifo, want a file"),
        ("/a\0b", InvalidArgument, "is no path"),
        ("/" + "a/" * 3000, InvalidArgument, "is no path"),
    ],
)
def test_what_cannot_be_read_is_named(path: str, error: type[DistoreError], says: str) -> None:
    files = image(Entry("dir", "d"), Entry("file", "f"), Entry("fifo", "p"))

    with pytest.raises(error, match=says):
        files.open(path)


def test_what_the_layers_tell_of_files_is_told() -> None:
    device = member("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    files = files_of(
        layer(
            member("f", data=b"12345", mode=0o4755, uid=7, gid=8, mtime=9),
            member("g", tarfile.LNKTYPE, "f"),
            device,
        )
    )

    info = files.tree.stat("/g")

    assert (info.mode, info.uid, info.gid, info.size) == (0o104755, 7, 8, 5)
    assert (info.mtime, info.links, info.name) == (9_000_000_000, 2, "g")
    assert files.tree.stat("/null").device == (1, 3)
    assert files.tree.stat("/null").kind == "character device"
    assert files.tree.listdir() == ["f", "g", "null"]
    assert [each.path for each in files.tree.walk()] == ["/", "/f", "/g", "/null"]


def test_many_members_are_read_in_one_go() -> None:
    layers = [
        layer(*(member(f"{number}-{each}", data=f"{number} {each} ".encode() * 300) for each in range(20)))
        for number in range(2)
    ]
    files = files_of(*layers)
    infos: dict[object, FileInfo] = {info.place: info for info in files.tree.walk() if info.place}

    found: dict[str, bytes] = {}
    for place, each in files.pieces([info.place for info in infos.values() if info.place]):
        name = infos[place].name
        found[name] = found.get(name, b"") + (bytes(each) if isinstance(each, memoryview) else b"")

    assert len(found) == 40
    assert all(data == (name.replace("-", " ") + " ").encode() * 300 for name, data in found.items())


def test_a_layer_that_is_not_what_its_config_promises_gives_nothing() -> None:
    store = MemoryStore()
    root = put_image(store, tar_of([Entry("file", "a")]))
    layers = layers_of(store, root)
    other = layers_of(store, put_image(store, tar_of([Entry("file", "b")])))

    with pytest.raises(DataLoss, match="the image's config promises"):
        LayerFiles(store, replace(layers, layers=other.layers), kept=None, subject="image x")


def test_a_layer_that_goes_meanwhile_is_named() -> None:
    store = MemoryStore()
    root = put_image(store, tar_of([Entry("file", "a", seed=1)]))
    files = opened(store, root)
    store.delete(files.image.layers[0].digest)

    with pytest.raises(NotFound, match="not in the store; dist pull brings it"):
        files.read("/a")


@pytest.mark.slow
def test_memory_grows_with_the_names_alone() -> None:
    """20,000 of them, each in its own way, and 20 MB of bytes."""
    count = 20_000
    data = layer(*(member(f"d{n % 97}/name-{n}", data=b"x" * 1000, mtime=n) for n in range(count)))
    store = MemoryStore()
    root = put_image(store, data, packed=())
    tracemalloc.start()
    try:
        files = opened(store, root)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(files.tree) == count + 97
    assert kept < 1500 * count
    assert peak < 2000 * count + 8_000_000  # the buffers of one layer that is read
