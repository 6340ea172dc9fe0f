"""Layers made of what differs between two folders: applied, they give the one out of the other."""

from __future__ import annotations

import io
import os
import shutil
import socket
import struct
import subprocess
import tarfile
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.diff.compared_trees import Thing, lay, make, names_in, pairs, seen, tar_of, trees

from distore.diff.compare import CompareOptions, changes, compare
from distore.diff.idmap import IdMap
from distore.diff.ownership import of_image, same_owner, unmapped
from distore.diff.plainheader import plain_header
from distore.diff.readtree import Tree
from distore.diff.tarmember import Member, Meta, header
from distore.errors import FailedPrecondition, NotFound, PermissionDenied
from distore.mount import Mount, may_mount, mounting

END = bytes(1024)


@pytest.mark.slow
@given(pairs())
@settings(max_examples=250, deadline=None)
def test_a_layer_applied_to_the_lower_tree_gives_the_upper_one(pair: tuple[Thing, Thing]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        lower, upper = make(top / "a", pair[0]), make(top / "b", pair[1])

        layer = tar_of(lower, upper, checksum=True)

        assert seen(lay(lower, layer)) == seen(upper)
        assert tar_of(lower, upper) == END


@pytest.mark.slow
@given(trees())
@settings(max_examples=150, deadline=None)
def test_bytes_depend_on_the_tree_and_not_on_how_it_was_made(tree: Thing) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        first, second = make(top / "a", tree), make(top / "b", tree, backwards=True)

        layer = tar_of(None, first)

        assert layer == tar_of(None, second)
        assert tar_of(first, second) == END
        (top / "c").mkdir()
        assert seen(lay(top / "c", layer)) == seen(first)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two empty folders that are the same."""
    folders = tmp_path / "lower", tmp_path / "upper"
    for folder in folders:
        folder.mkdir()
        os.utime(folder, (0, 0))
    return folders


def put(path: Path, text: str, *, time: float = 0) -> Path:
    """A file whose folder keeps its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.parent.stat()
    path.write_text(text)
    os.utime(path, ns=(0, round(time * 10**9)))
    os.utime(path.parent, ns=(0, before.st_mtime_ns))
    return path


def test_a_file_of_whole_seconds_is_read_and_a_finer_time_is_trusted(two: tuple[Path, Path]) -> None:
    for folder, text in zip(two, ("one", "two"), strict=True):
        put(folder / "whole", text, time=5)
        put(folder / "finer", text, time=5.25)

    assert names_in(tar_of(*two)) == ["whole"]
    assert names_in(tar_of(*two, checksum=True)) == ["finer", "whole"]


def test_folders_on_the_way_to_a_change_are_told_of_once(two: tuple[Path, Path]) -> None:
    for folder in two:
        put(folder / "a" / "b" / "kept", "x")
        put(folder / "a" / "c" / "gone", "x")
        for each in (folder / "a", folder / "a" / "b", folder / "a" / "c", folder):
            os.utime(each, (0, 0))
    put(two[1] / "a" / "b" / "new", "x")
    (two[1] / "a" / "c" / "gone").unlink()
    os.utime(two[1] / "a" / "c", (0, 0))

    assert names_in(tar_of(*two)) == ["a", "a/b", "a/b/new", "a/c", "a/c/.wh.gone"]


def test_of_a_file_with_several_names_all_are_told_of(two: tuple[Path, Path]) -> None:
    for folder in two:
        os.link(put(folder / "a", "x"), folder / "b")
        os.utime(folder, (0, 0))
    os.link(two[1] / "a", two[1] / "c")
    os.utime(two[1], (0, 0))

    with tarfile.open(fileobj=io.BytesIO(tar_of(*two))) as tar:
        assert [(each.name, each.linkname) for each in tar] == [("a", ""), ("b", "a"), ("c", "a")]


def test_changes_are_told_with_their_kind(two: tuple[Path, Path]) -> None:
    put(two[0] / "gone", "x")
    put(two[0] / "other", "x")
    put(two[1] / "other", "y")
    put(two[1] / "new", "x")

    found = [(change.kind, change.path) for change in changes(str(two[0]), str(two[1]), CompareOptions())]

    assert found == [("delete", b"gone"), ("add", b"new"), ("modify", b"other")]


def test_nothing_is_later_than_the_epoch_of_the_source(two: tuple[Path, Path]) -> None:
    put(two[0] / "early", "x", time=100)
    put(two[0] / "late", "x", time=300.5)
    shutil.copytree(two[0], two[1], dirs_exist_ok=True)
    os.utime(two[1], (0, 0))

    assert tar_of(*two, source_date_epoch=200) == END
    with tarfile.open(fileobj=io.BytesIO(tar_of(None, two[1], source_date_epoch=200))) as tar:
        assert [(each.name, each.mtime) for each in tar] == [(".", 0), ("early", 100), ("late", 200)]
    os.utime(two[0] / "late", (0, 200))
    assert tar_of(*two, source_date_epoch=200) == END


def test_a_socket_is_passed_over_and_told_of(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two[1])
    notes: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        os.utime(two[1], (0, 0))

        assert tar_of(*two, note=notes.append) == END

    assert notes == ["tree: 's': a socket, which is nothing without its process; left out"]


def test_a_name_that_would_remove_another_is_refused(two: tuple[Path, Path]) -> None:
    put(two[1] / ".wh.a", "x")

    with pytest.raises(FailedPrecondition, match=r"tree: '\.wh\.a': a name that begins"):
        tar_of(*two)


@pytest.mark.parametrize(("how", "name"), [("shorter", "a"), ("longer", "a"), ("gone", "b")])
def test_what_changes_while_it_is_read_is_an_error(how: str, name: str, two: tuple[Path, Path]) -> None:
    for each in "ab":
        put(two[1] / each, each * 600_000)
    pieces = compare(None, str(two[1]), CompareOptions(), subject="tree")
    next(pieces)

    if how == "gone":
        (two[1] / "b").unlink()
    else:
        os.truncate(two[1] / "a", 10 if how == "shorter" else 600_001)

    with pytest.raises(FailedPrecondition, match=f"tree: '{name}': changed while it was read"):
        for _ in pieces:
            pass


def test_a_file_that_becomes_a_link_is_told_of_as_one(two: tuple[Path, Path], tmp_path: Path) -> None:
    put(two[1] / "a", "x" * 600_000)
    put(two[1] / "b", "x")
    pieces = compare(None, str(two[1]), CompareOptions(), subject="tree")
    next(pieces)
    (two[1] / "b").unlink()
    (two[1] / "b").symlink_to(put(tmp_path / "outside", "secret"))

    assert b"secret" not in b"".join(bytes(piece) for piece in pieces)


def test_a_folder_that_becomes_a_link_leads_nowhere(two: tuple[Path, Path], tmp_path: Path) -> None:
    put(two[1] / "a", "x" * 600_000)
    put(two[1] / "d" / "e" / "inside", "x")
    put(tmp_path / "outside" / "e" / "secret", "x")
    pieces = compare(None, str(two[1]), CompareOptions(), subject="tree")
    next(pieces)
    shutil.rmtree(two[1] / "d")
    (two[1] / "d").symlink_to(tmp_path / "outside")

    layer = b"".join(bytes(piece) for piece in pieces)

    assert b"secret" not in layer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_may_not_be_read_is_an_error_that_names_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        put(Path(folder) / "secret", "x").chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(PermissionDenied, match="tree: 'secret': permission denied"):
                tar_of(None, Path(folder))
        finally:
            os.seteuid(0)


@pytest.mark.skipif(not may_mount(), reason="only root may mount")
def test_another_file_system_is_left_out(two: tuple[Path, Path]) -> None:
    notes: list[str] = []
    (two[1] / "proc").mkdir()
    with mounting([Mount(type="tmpfs", source="tmpfs", target=str(two[1] / "proc"))]):
        put(two[1] / "proc" / "inside", "x")

        assert "proc/inside" not in names_in(tar_of(None, two[1], note=notes.append))

    assert notes == ["tree: 'proc': another file system is mounted there; left out"]


@pytest.mark.slow
def test_a_deep_tree_needs_no_deep_stack() -> None:
    top = tempfile.mkdtemp()
    try:
        for name in ("lower", "upper"):
            (Path(top) / name).mkdir()
            at = os.open(Path(top) / name, os.O_RDONLY)
            for _ in range(1100):
                os.mkdir("d", dir_fd=at)
                inner = os.open("d", os.O_RDONLY, dir_fd=at)
                os.close(at)
                at = inner
            os.close(at)

        assert len(list(changes(f"{top}/lower", f"{top}/upper", CompareOptions()))) == 1101
    finally:  # by a program that does not recurse, as pytest and shutil do
        subprocess.run(["rm", "-rf", top], check=True)


def test_owners_in_attributes_are_those_of_the_image() -> None:
    acl = struct.pack("<IHHIHHIHHI", 2, 1, 6, 0xFFFFFFFF, 2, 6, 1005, 8, 4, 1007)
    capability = struct.pack("<IIIIII", 0x03000001, 1, 2, 3, 4, 1000)

    found = dict(
        unmapped(
            ((b"security.capability", capability), (b"system.posix_acl_access", acl), (b"user.a", b"1")),
            lambda uid, gid: (uid - 1000, gid - 1000),
        )
    )

    assert found == {
        b"security.capability": struct.pack("<IIIII", 0x02000001, 1, 2, 3, 4),
        b"system.posix_acl_access": struct.pack("<IHHIHHIHHI", 2, 1, 6, 0xFFFFFFFF, 2, 6, 5, 8, 4, 7),
        b"user.a": b"1",
    }


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="tree: no such file or directory"):
        tar_of(None, tmp_path / "none")


@given(
    st.sampled_from([b"a", b"d/\xff", b"n" * 100, b"n" * 101, b"a b/"]),
    st.sampled_from([0, 0o644, 0o7777]),
    st.sampled_from([0, 1000, 0o7777777, 0o7777777 + 1]),
    st.sampled_from([0, 5, 0o77777777777, 0o77777777777 + 1]),
    st.integers(-(10**12), 10**20),
)
def test_a_plain_header_is_what_the_general_one_is(
    name: bytes, mode: int, owner: int, size: int, time: int
) -> None:
    exact = b"%d.%09d" % divmod(time, 10**9) if time % 10**9 else b""
    kind = b"5" if name.endswith(b"/") else b"0"
    seconds = time // 10**9

    plain = plain_header(name, kind, mode=mode, owner=(owner, 0), size=size, time=seconds, exact=exact)

    if plain is not None:
        records = ((b"mtime", exact),) if exact else ()
        meta = Meta(mode=mode, uid=owner, mtime=seconds, records=records)
        text = name.decode("utf-8", "surrogateescape").rstrip("/")
        assert plain == header(Member(name=text, kind=kind, meta=meta, size=size))
    fits = len(name) <= 100 and name.isascii() and max(owner << 12, size) <= 0o77777777777
    assert (plain is not None) == (fits and 0 <= seconds <= 0o77777777777)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_tree_that_was_made_with_other_numbers_is_compared_by_those_of_the_image(
    two: tuple[Path, Path],
) -> None:
    for folder, first in zip(two, (0, 100_000), strict=True):
        os.chown(put(folder / "a", "x"), first + 5, first + 6)
        os.setxattr(folder / "a", "system.posix_acl_access", access(first + 7))
        os.chown(folder, first, first)
    ids = IdMap.parse("0:100000:1000")
    layer = partial(tar_of, owner=of_image(ids, ids), lower_owner=same_owner)

    assert layer(*two) == END
    with tarfile.open(fileobj=io.BytesIO(layer(None, two[1]))) as tar:
        assert [(each.uid, each.gid) for each in tar] == [(0, 0), (5, 6)]
    os.chown(two[1] / "a", 5, 6)
    with pytest.raises(FailedPrecondition, match="tree: 'a': user id 5 is not in the id map 0:100000:1000"):
        layer(*two)


def access(user: int) -> bytes:
    """An ACL that names a user."""
    entries = ((1, 6, -1), (2, 6, user), (4, 4, -1), (16, 6, -1), (32, 4, -1))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *each) for each in entries)


def test_the_folder_itself_is_called_by_its_own_name(tmp_path: Path) -> None:
    with Tree(str(tmp_path), subject="rootfs") as tree:
        assert (tree.shown(b""), tree.shown(b"a/b")) == ("rootfs", "rootfs: 'a/b'")
