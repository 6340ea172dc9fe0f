"""Layers laid over a folder: the tree of the specification, and nothing outside the folder."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, event, given, settings
from tests.unit.diff.applied_trees import applied, lay, layer, member, seen, wanted, with_records
from tests.unit.diff.overlay_layers import Entry, Impossible, stacks, tar_of

from distore.diff.entry import nanoseconds
from distore.diff.tarmember import Meta
from distore.errors import (
    FailedPrecondition,
    PermissionDenied,
    ResourceExhausted,
)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do it")
LINK, HARD, FOLDER, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def file(path: str, seed: int = 1) -> Entry:
    return Entry("file", path, seed=seed)


@pytest.mark.slow
@given(stacks)
@settings(max_examples=300, deadline=None)
def test_layers_applied_one_after_the_other_are_what_the_naive_model_has(stack: list[list[Entry]]) -> None:
    layers = [tar_of(entries) for entries in stack]
    try:
        expected = wanted(*layers)
    except Impossible:
        event("impossible")
        with tempfile.TemporaryDirectory() as folder, pytest.raises(FailedPrecondition):
            applied(Path(folder), *stack)
        return
    assume(all(name.count("/") < 9 for name in expected))

    with tempfile.TemporaryDirectory() as folder:
        assert applied(Path(folder), *stack) == expected


def test_the_diff_id_and_size_are_those_of_the_whole_tar_file(root: Path) -> None:
    data = tar_of([file("a")]) + b"\0" * 4096 + b"anything"

    done = lay(root, data)

    assert done.diff_id == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert (done.size, done.left_out) == (len(data), 0)


def test_a_whiteout_spares_what_its_own_layer_has_whatever_the_order(root: Path) -> None:
    assert [*applied(root, [file("a")], [file("a", 2), Entry("wh", "a")])] == ["a"]
    assert [*applied(root, [Entry("wh", "a"), file("a", 2)])] == ["a"]
    assert [*applied(root, [Entry("wh", "a")])] == []


def test_an_opaque_folder_hides_only_what_lower_layers_have(root: Path) -> None:
    lower = [Entry("dir", "d"), file("d/x"), file("d/e/y")]

    assert [*applied(root, lower, [file("d/z"), Entry("opq", "d"), file("d/e/n")])] == [
        "d",
        "d/e",
        "d/e/n",
        "d/z",
    ]


def test_a_folder_keeps_its_time_when_a_later_layer_changes_what_is_in_it(root: Path) -> None:
    applied(root, [Entry("dir", "d", seed=5), file("d/x")], [file("d/y")], [Entry("wh", "d/x")])

    assert (root / "d").stat().st_mtime == 1005
    assert [path.name for path in (root / "d").iterdir()] == ["y"]


def test_replacing_one_name_of_a_file_leaves_the_others(root: Path) -> None:
    applied(root, [file("a"), Entry("link", "b", "a")], [file("a", 2)])

    assert (root / "a").read_bytes() != (root / "b").read_bytes()


def test_a_hard_link_may_take_the_place_of_the_folder_its_target_is_in(root: Path) -> None:
    found = applied(root, [file("d/x")], [Entry("link", "d", "d/x")])

    assert [*found] == ["d"]
    assert (root / "d").is_file()


def test_a_folder_in_the_place_of_a_link_to_a_folder_takes_it(root: Path) -> None:
    applied(root, [Entry("dir", "e"), Entry("sym", "d", "e")], [Entry("dir", "d"), file("d/x")])

    assert not (root / "d").is_symlink()
    assert [path.name for path in (root / "e").iterdir()] == []


def test_modes_times_and_attributes_are_kept(root: Path) -> None:
    records = {"SCHILY.xattr.user.a": "ü", "mtime": "12.5"}

    lay(
        root,
        layer(member("a", mode=0o4711, mtime=12.5, pax_headers=records), member("d", FOLDER, mode=0o1777)),
    )

    info = (root / "a").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_mtime) == (0o4711, 12.5)
    assert os.getxattr(root / "a", "user.a").decode() == "ü"
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o1777


def test_the_root_folder_gets_what_the_layer_tells_of_it(root: Path) -> None:
    lay(root, layer(member("./", FOLDER, mode=0o750, mtime=7), member("./a")))

    assert (stat.S_IMODE(root.stat().st_mode), root.stat().st_mtime) == (0o750, 7)


@root_only
def test_capabilities_and_owners_outlive_each_other(root: Path) -> None:
    value = b"\x01\0\0\x02" + b"\0\x20\0\0" + bytes(12)
    one = member("ping", uid=7, gid=8, mode=0o6755)

    lay(root, layer(with_records(one, {b"SCHILY.xattr.security.capability": value})))

    info = (root / "ping").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (7, 8, 0o6755)
    assert os.getxattr(root / "ping", "security.capability") == value


@root_only
def test_an_owner_that_nobody_can_be_is_refused(root: Path) -> None:
    with pytest.raises(FailedPrecondition, match="owner 4294967296:0, which Linux has not"):
        lay(root, layer(member("a", uid=1 << 32)))


@root_only
def test_devices_are_made_skipped_or_refused(root: Path) -> None:
    data = layer(member("null", DEVICE, devmajor=1, devminor=3), member("pipe", tarfile.FIFOTYPE))

    assert lay(root, data, devices="skip").left_out == 1
    assert [*seen(root)] == ["pipe"]
    with pytest.raises(PermissionDenied, match="'null': a device, which only root can make"):
        lay(root, data, devices="refuse")
    lay(root, data)
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)


@pytest.mark.parametrize("name", ["trusted.overlay.opaque", "user.overlay.redirect", "strange"])
def test_orders_to_an_overlay_are_left_out(root: Path, name: str) -> None:
    done = lay(root, layer(member("d", FOLDER, pax_headers={f"SCHILY.xattr.{name}": "/etc"})))

    assert done.left_out == 1
    assert os.listxattr(root / "d") == []


def test_a_folder_told_of_again_has_only_the_attributes_of_the_later_layer(root: Path) -> None:
    lay(root, layer(member("d", FOLDER, pax_headers={"SCHILY.xattr.user.a": "1"})))

    lay(root, layer(member("d", FOLDER, pax_headers={"SCHILY.xattr.user.b": "2"})))

    assert os.listxattr(root / "d") == ["user.b"]


def test_without_root_all_belongs_to_whoever_applies_it(root: Path) -> None:
    lay(root, layer(member("a", uid=4242, gid=4242)), as_root=False)

    assert (root / "a").stat().st_uid == os.geteuid()


@root_only
@pytest.mark.slow
def test_without_root_closed_folders_are_opened_and_closed_again(root: Path) -> None:
    (root / "1.tar").write_bytes(
        layer(member("d", FOLDER, mode=0o500), member("d/x"), member("d/e", FOLDER, mode=0), member("d/e/y"))
    )
    (root / "2.tar").write_bytes(layer(member("d/z"), member("d/e/.wh.y"), member("d/e/n")))
    script = f"""
import io, os, sys
sys.path.insert(0, {str(Path(__file__).parents[3] / "src")!r})
from distore.diff.apply import apply
from distore.diff.entry import ApplyOptions, Devices
apply(io.BytesIO(bytes(1024)), ".", ApplyOptions(as_root=True), subject="all is imported by this")
layers = [open({str(root)!r} + name, "rb") for name in ("/1.tar", "/2.tar")]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for layer in layers:
    apply(layer, ".", ApplyOptions(as_root=False, devices=Devices.SKIP), subject="layer")
"""
    folder = root / "theirs"
    folder.mkdir()
    os.chown(folder, 65534, 65534)

    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()
    assert [*seen(folder)] == ["d", "d/e", "d/e/n", "d/x", "d/z"]
    assert [stat.S_IMODE((folder / name).stat().st_mode) for name in ("d", "d/e")] == [0o500, 0]


@pytest.mark.parametrize(
    ("mtime", "text", "result"),
    [
        (12, b"12.5", 12_500_000_000),
        (-1, b"-1.5", -1_500_000_000),
        (0, b"0.1234567891", 123_456_789),
        (10**19, b"", (1 << 62) * 10**9),
    ],
)
def test_times_have_their_parts_of_a_second(mtime: int, text: bytes, result: int) -> None:
    records = ((b"mtime", text),) if text else ()

    assert nanoseconds(Meta(mode=0, mtime=mtime, records=records)) == result


def test_a_time_that_no_file_system_has_is_the_nearest_it_has(root: Path) -> None:
    lay(root, layer(member("a", pax_headers={"mtime": "9999999999999999999"})))

    assert (root / "a").stat().st_mtime > 2**32


@pytest.mark.parametrize("data", [b"1" * 3_000_000, b""])
def test_a_layer_is_read_where_the_system_gives_no_more_threads(
    root: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    plain = layer(member("f", data=data))

    done = lay(root, plain)

    assert (root / "f").read_bytes() == data
    assert (done.diff_id, done.size) == (f"sha256:{hashlib.sha256(plain).hexdigest()}", len(plain))
    with pytest.raises(ResourceExhausted, match="unpacks to more than 100 bytes"):
        lay(root, plain, max_size=100)
