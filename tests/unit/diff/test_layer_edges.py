"""Layers of every kind that builders make: each row is one, and what it becomes."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
from pathlib import Path

import pytest
from tests.unit.diff.applied_trees import lay, layer, member, with_records
from tests.unit.diff.applied_uppers import lay_upper

from distore.diff.apply import apply
from distore.diff.compression import Decompressed
from distore.diff.entry import ApplyOptions, Devices
from distore.diff.frames import zstd_module
from distore.diff.tarheader import summed
from distore.errors import DataLoss, DistoreError

IS_ROOT = os.geteuid() == 0
LINK, HARD, FOLDER, PIPE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE
LONG = "/".join(["n" * 90] * 4)
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *one)
    for one in ((1, 6, 0xFFFFFFFF), (2, 4, 7), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF))
)
CAPABILITY = b"\x01\0\0\x02" + b"\0\x20\0\0" + bytes(12)


def v7(name: bytes, kind: bytes = b"\0", data: bytes = b"") -> bytes:
    """As tar wrote it before there was ustar: no magic, no owner's name, rubbish behind."""
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"   644 \0     1 \0     2 \0",
            b"%11o " % len(data),
            b"%11o " % 1000,
            bytes(8),
            kind,
            bytes(100),
            b"rubbish".ljust(255, b"\xaa"),
        )
    )
    block = block[:148] + b" " * 8 + block[156:]
    return summed(block) + data + bytes(-len(data) % 512)


def gnu(name: str, data: bytes = b"", link: str = "", kind: bytes = tarfile.REGTYPE, **more: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def signed(block: bytes) -> bytes:
    """With the sum that some old programs made, of signed bytes."""
    blank = block[:148] + b" " * 8 + block[156:512]
    total = sum(byte - 256 if byte > 127 else byte for byte in blank)
    return block[:148] + b"%06o\0 " % total + block[156:]


def tree(folder: Path) -> dict[str, object]:
    """Names, and what is in them: bytes, where a link leads, or what else it is."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        name = str(path.relative_to(folder))
        if stat.S_ISREG(mode):
            found[name] = path.read_bytes()
        elif stat.S_ISLNK(mode):
            found[name] = f"-> {os.readlink(path)}"
        elif not stat.S_ISDIR(mode):
            found[name] = stat.filemode(mode)[0]
        elif not any(path.iterdir()):
            found[name] = "d"
    return found


ROWS: dict[str, tuple[bytes, dict[str, object]]] = {
    "headers of before ustar": (
        layer(v7(b"f", data=b"x"), v7(b"d/")),
        {"d": "d", "f": b"x"},
    ),
    "a sum of signed bytes": (layer(signed(v7(b"f\xfc", data=b"x"))), {"f\udcfc": b"x"}),
    "no end of the archive": (member("f", data=b"x"), {"f": b"x"}),
    "one block of zeros as the end": (member("f", data=b"x") + bytes(512), {"f": b"x"}),
    "anything behind the end": (layer(member("f", data=b"x")) + member("g") + b"?" * 700, {"f": b"x"}),
    "nothing": (bytes(1024), {}),
    "a contiguous file": (layer(member("f", tarfile.CONTTYPE, data=b"x")), {"f": b"x"}),
    "a ustar prefix": (
        layer(member("p" * 90 + "/" + "n" * 90, data=b"x")),
        {"p" * 90 + "/" + "n" * 90: b"x"},
    ),
    "GNU long names": (
        layer(gnu(LONG, b"x"), gnu("l", kind=LINK, link=LONG)),
        {LONG: b"x", "l": f"-> {LONG}"},
    ),
    "pax long names": (
        layer(member(LONG + "ü", data=b"x"), member("l", LINK, LONG)),
        {LONG + "ü": b"x", "l": f"-> {LONG}"},
    ),
    "a name of the header that pax replaces": (
        layer(with_records(member("no", data=b"x"), {b"path": b"yes"})),
        {"yes": b"x"},
    ),
    "a size of the header that pax replaces": (
        layer(with_records(member("f")[:512], {b"size": b"3"}) + b"abc".ljust(512, b"\0")),
        {"f": b"abc"},
    ),
    "a global header": (
        layer(member("x", tarfile.XGLTYPE, data=b"17 comment=hello\n"), member("f", data=b"x")),
        {"f": b"x"},
    ),
    "dots and slashes": (layer(member("./", FOLDER), member("./a/./b//c", data=b"x")), {"a/b/c": b"x"}),
    "absolute": (layer(member("/a/b", data=b"x")), {"a/b": b"x"}),
    "one name again": (layer(member("f", data=b"1"), member("f", data=b"2")), {"f": b"2"}),
    "a file, then a folder": (layer(member("f", data=b"1"), member("f/g", data=b"2")), {"f/g": b"2"}),
    "a folder, then a file": (layer(member("f/g", data=b"1"), member("f", data=b"2")), {"f": b"2"}),
    "a link, then a file": (layer(member("f", LINK, "g"), member("f", data=b"2")), {"f": b"2"}),
    "a hard link behind its file": (
        layer(member("f", data=b"x"), member("g", HARD, "f")),
        {"f": b"x", "g": b"x"},
    ),
    "a hard link that is absolute": (
        layer(member("d/f", data=b"x"), member("g", HARD, "/d/f")),
        {"d/f": b"x", "g": b"x"},
    ),
    "a hard link that is told of twice": (
        layer(member("f", data=b"x"), member("g", HARD, "f"), member("g", HARD, "f")),
        {"f": b"x", "g": b"x"},
    ),
    "a hard link with a size": (
        layer(member("f", data=b"x"), member("g", HARD, "f", size=5), member("h", data=b"y")),
        {"f": b"x", "g": b"x", "h": b"y"},
    ),
    "a hard link to a link": (
        layer(member("l", LINK, "x"), member("g", HARD, "l")),
        {"l": "-> x", "g": "-> x"},
    ),
    "a file that replaces one name of two": (
        layer(member("f", data=b"x"), member("g", HARD, "f"), member("f", data=b"y")),
        {"f": b"y", "g": b"x"},
    ),
    "a pipe": (layer(member("p", PIPE)), {"p": "p"}),
    "names of aufs": (
        layer(
            member(".wh..wh.aufs"),
            member(".wh..wh.orph/", FOLDER),
            member(".wh..wh.plnk/1.2", data=b"x"),
            member("d/.wh..wh..tmp", data=b"x"),
            member("d/f", data=b"y"),
        ),
        {"d/f": b"y"},
    ),
    "a link through a link of the same layer": (
        layer(member("d", FOLDER), member("l", LINK, "d"), member("l/f", data=b"x")),
        {"d/f": b"x", "l": "-> d"},
    ),
    "a time in base 256, before 1970": (layer(gnu("f", b"x", mtime=-5)), {"f": b"x"}),
    "a file of 0 bytes and a folder of 5": (
        layer(member("f"), member("d", FOLDER, size=5), member("g", data=b"x")),
        {"d": "d", "f": b"", "g": b"x"},
    ),
}
both = pytest.mark.parametrize("upper", [False, True], ids=["apply", "apply_upper"])


def put(folder: Path, data: bytes, *, upper: bool) -> int:
    """The layer over an empty folder; what was left out."""
    return lay_upper(folder, data, []).left_out if upper else lay(folder, data).left_out


@both
@pytest.mark.parametrize("row", list(ROWS))
def test_a_layer_of_every_kind_becomes_its_tree(tmp_path: Path, row: str, upper: bool) -> None:
    data, expected = ROWS[row]

    put(tmp_path, data, upper=upper)

    assert tree(tmp_path) == expected


BELOW = layer(
    *(member(name, data=b"low") for name in ("a", "d/a", "d/e/a", "d/e/f/a", "k/a")),
    member("l", LINK, "d"),
)
OVER: dict[str, tuple[list[bytes], list[str]]] = {
    "a whiteout of a file": ([member(".wh.a")], ["d/a", "d/e/a", "d/e/f/a", "k/a", "l"]),
    "a whiteout of a folder": ([member(".wh.d")], ["a", "k/a", "l"]),
    "a whiteout of a link": ([member(".wh.l")], ["a", "d/a", "d/e/a", "d/e/f/a", "k/a"]),
    "a whiteout that is a folder": ([member("d/.wh.e", FOLDER)], ["a", "d/a", "k/a", "l"]),
    "a whiteout with bytes": ([member("d/.wh.e", data=b"x")], ["a", "d/a", "k/a", "l"]),
    "a whiteout of nothing": (
        [member(".wh.q"), member("q/.wh.r")],
        ["a", "d/a", "d/e/a", "d/e/f/a", "k/a", "l"],
    ),
    "opaque": ([member("d/.wh..wh..opq")], ["a", "d", "k/a", "l"]),
    "opaque by a whiteout of the folder": ([member(".wh.d"), member("d", FOLDER)], ["a", "d", "k/a", "l"]),
    "opaque before what is in it": (
        [member("d/.wh..wh..opq"), member("d/n")],
        ["a", "d/n", "k/a", "l"],
    ),
    "opaque behind what is in it": (
        [member("d/n"), member("d/e/n"), member("d/.wh..wh..opq")],
        ["a", "d/e/n", "d/n", "k/a", "l"],
    ),
    "a whiteout before what takes the place": (
        [member(".wh.d"), member("d/n")],
        ["a", "d/n", "k/a", "l"],
    ),
    "a whiteout behind what takes the place": (
        [member("d", FOLDER), member("d/n"), member(".wh.d")],
        ["a", "d/n", "k/a", "l"],
    ),
    "a root that is opaque": ([member(".wh..wh..opq"), member("n")], ["n"]),
    "a whiteout through a link": ([member("l/.wh.a")], ["a", "d/e/a", "d/e/f/a", "k/a", "l"]),
    "a file in the place of a folder": ([member("d")], ["a", "d", "k/a", "l"]),
    "a folder in the place of a file": ([member("a/n")], ["a/n", "d/a", "d/e/a", "d/e/f/a", "k/a", "l"]),
    "a folder in the place of a link": ([member("l", FOLDER)], ["a", "d/a", "d/e/a", "d/e/f/a", "k/a", "l"]),
    "a folder told of again": ([member("d", FOLDER)], ["a", "d/a", "d/e/a", "d/e/f/a", "k/a", "l"]),
}


@pytest.mark.parametrize("row", list(OVER))
def test_a_layer_over_another_hides_what_it_says(tmp_path: Path, row: str) -> None:
    parts, expected = OVER[row]
    lay(tmp_path, BELOW)

    lay(tmp_path, layer(*parts))

    assert list(tree(tmp_path)) == expected


def packed_gzip(data: bytes) -> bytes:
    third = len(data) // 3
    return b"".join(
        gzip.compress(part) for part in (data[:third], data[third : 2 * third], data[2 * third :])
    )


def packed_zstd(data: bytes) -> bytes:
    zstd = zstd_module("a test")
    skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc"  # a frame that readers pass over
    half = len(data) // 2
    return bytes(zstd.compress(data[:half]) + skipped + zstd.compress(data[half:]))


@pytest.mark.parametrize(
    "pack", [bytes, packed_gzip, packed_zstd], ids=["plain", "gzip members", "zstd frames"]
)
def test_several_members_or_frames_are_one_layer(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    data = layer(member("f", data=b"x" * 5000), member("g", data=b"y"))
    plain = Decompressed(io.BytesIO(pack(data)), subject="layer")
    options = ApplyOptions(as_root=IS_ROOT, devices=Devices.SKIP)

    done = apply(plain, str(tmp_path), options, subject="layer")

    assert done.size == len(data)
    assert tree(tmp_path) == {"f": b"x" * 5000, "g": b"y"}


@both
@pytest.mark.parametrize(
    "pack", [bytes, packed_gzip, packed_zstd], ids=["plain", "gzip members", "zstd frames"]
)
def test_a_layer_cut_anywhere_is_told_apart(tmp_path: Path, pack: object, upper: bool) -> None:
    assert callable(pack)
    data = layer(member("f", data=b"x" * 700), member("g", data=b"y"))
    whole = pack(data)
    diff_id = lay(made(tmp_path / "whole"), data).diff_id

    for number, end in enumerate(range(0, len(whole), max(1, len(whole) // 40))):
        folder = made(tmp_path / str(number))
        plain = io.BytesIO()
        try:
            source = Decompressed(io.BytesIO(whole[:end]), subject="layer")
            space = memoryview(bytearray(1 << 16))
            while size := source.readinto(space):
                plain.write(space[:size])
            done = lay_upper(folder, plain.getvalue(), []) if upper else lay(folder, plain.getvalue())
        except DistoreError as error:
            assert str(error).startswith("layer: ")
        else:
            assert done.diff_id != diff_id


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@both
def test_times_are_kept_to_the_nanosecond(tmp_path: Path, upper: bool) -> None:
    told = {"f": b"1234567890.123456789", "g": b"-1.5", "h": b"5", "d/": b"7.000000001"}
    parts = [with_records(member(name), {b"mtime": text}) for name, text in told.items()]
    parts[-1] = with_records(member("d", FOLDER), {b"mtime": told["d/"]})

    put(tmp_path, layer(*parts), upper=upper)

    times = [(tmp_path / name).stat().st_mtime_ns for name in told]
    assert times == [1234567890123456789, -1500000000, 5000000000, 7000000001]


@pytest.mark.skipif(not IS_ROOT, reason="only root may set all of them")
@both
def test_attributes_capabilities_and_acls_are_kept(tmp_path: Path, upper: bool) -> None:
    told = {
        b"user.text": b"a=b\nc\0d",
        b"user.empty": b"",
        b"trusted.own": b"x",
        b"security.capability": CAPABILITY,
        b"system.posix_acl_access": ACL,
    }
    records = {b"SCHILY.xattr." + key: value for key, value in told.items()}
    default = {b"SCHILY.xattr.system.posix_acl_default": ACL}

    left_out = put(
        tmp_path,
        layer(
            with_records(member("d", FOLDER), default),
            with_records(member("d/f", mode=0o640, uid=3), records),
            member("d/g", mode=0o644),
            with_records(member("l", LINK, "f"), {b"SCHILY.xattr.trusted.own": b"y"}),
        ),
        upper=upper,
    )

    path = tmp_path / "d/f"
    assert left_out == 0
    assert {os.fsencode(key): os.getxattr(path, key) for key in os.listxattr(path)} == told
    assert os.listxattr(tmp_path / "d") == ["system.posix_acl_default"]
    assert os.listxattr(tmp_path / "d/g") == []
    assert os.getxattr(tmp_path / "l", "trusted.own", follow_symlinks=False) == b"y"


@pytest.mark.skipif(not IS_ROOT, reason="ACLs name other users")
def test_a_new_file_does_not_take_the_acl_of_the_folder_below(tmp_path: Path) -> None:
    default = {b"SCHILY.xattr.system.posix_acl_default": ACL}
    lay(tmp_path, layer(with_records(member("d", FOLDER, mtime=9), default)))

    lay(tmp_path, layer(member("d/f", mode=0o666), member("d/e", FOLDER)))

    assert os.listxattr(tmp_path / "d/f") == os.listxattr(tmp_path / "d/e") == []
    assert stat.S_IMODE((tmp_path / "d/f").stat().st_mode) == 0o666
    assert os.getxattr(tmp_path / "d", "system.posix_acl_default") == ACL
    assert (tmp_path / "d").stat().st_mtime == 9


@pytest.mark.skipif(not IS_ROOT, reason="only root can make devices")
@both
def test_devices_are_made_but_for_the_one_that_is_a_whiteout(tmp_path: Path, upper: bool) -> None:
    data = layer(
        member("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("disk", tarfile.BLKTYPE, devmajor=259, devminor=70000),
        member("order", tarfile.CHRTYPE),
        member("block", tarfile.BLKTYPE),
    )

    left_out = put(tmp_path, data, upper=upper)

    assert left_out == 1
    assert tree(tmp_path) == {"block": "b", "disk": "b", "null": "c"}
    assert (tmp_path / "disk").stat().st_rdev == os.makedev(259, 70000)
    assert stat.S_IMODE((tmp_path / "null").stat().st_mode) == 0o666


def test_what_is_left_out_replaces_and_keeps_nothing(tmp_path: Path) -> None:
    lay(tmp_path, layer(member("a", data=b"x"), member("b", data=b"x")))

    lay(
        tmp_path,
        layer(member("a", tarfile.CHRTYPE), member("b", tarfile.CHRTYPE), member(".wh.b")),
        devices="skip",
    )

    assert tree(tmp_path) == {"a": b"x"}


@both
@pytest.mark.parametrize("kind", [b"V", b"M", b"D", b"Z"])
def test_members_of_kinds_that_nobody_knows_are_refused(tmp_path: Path, kind: bytes, upper: bool) -> None:
    with pytest.raises(DistoreError, match="layer: 'f' is of an unknown kind"):
        put(tmp_path, layer(member("f", kind)), upper=upper)


@both
def test_damage_in_the_middle_is_told_apart(tmp_path: Path, upper: bool) -> None:
    data = bytearray(layer(member("f", data=b"x"), member("g")))
    data[1024 + 3] ^= 1

    with pytest.raises(DataLoss, match="layer: damaged: no member where one should begin"):
        put(tmp_path, bytes(data), upper=upper)
