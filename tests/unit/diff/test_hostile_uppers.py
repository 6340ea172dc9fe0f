"""Hostile layers, applied over others and alone: nothing outside of the folder is read, made or changed."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.diff.applied_trees import lay, layer, member, with_records
from tests.unit.diff.applied_uppers import lay_upper, settle
from tests.unit.diff.overlay_layers import stacks, tar_of

from distore.diff import laying
from distore.diff.compression import Decompressed
from distore.diff.entry import ApplyOptions, Devices
from distore.diff.tarheader import summed
from distore.errors import DistoreError

LINK, HARD, FOLDER = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
PIPE, DEVICE = tarfile.FIFOTYPE, tarfile.CHRTYPE
SAFE = b"safe"
_OPTIONS = ApplyOptions(as_root=os.geteuid() == 0, devices=Devices.REFUSE)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what no layer may change, and room for layers."""
    return prepared(tmp_path)


def prepared(place: Path) -> Path:
    (place / "secret").write_bytes(SAFE)
    (place / "outside/deep").mkdir(parents=True)
    (place / "outside/file").write_bytes(SAFE)
    (place / "outside/pipe").mkdir()
    return place


def state(place: Path) -> dict[str, object]:
    """All about what no layer may change."""
    found: dict[str, object] = {"": sorted(os.listdir(place))}
    for path in [place / "secret", place / "outside", *sorted((place / "outside").rglob("*"))]:
        info = path.lstat()
        found[str(path)] = (
            info.st_mode,
            info.st_uid,
            info.st_gid,
            info.st_nlink,
            info.st_mtime_ns,
            info.st_size,
            os.listxattr(path),
            path.read_bytes() if path.is_file() else os.listdir(path),
        )
    return found


def over(place: Path, layers: list[bytes], options: ApplyOptions) -> None:
    """One over the other into one folder."""
    root = place / "root"
    for data in layers:
        lay(
            root,
            data,
            devices=str(options.devices),
            max_entries=options.max_entries,
            max_size=options.max_size,
        )


def alone(place: Path, layers: list[bytes], options: ApplyOptions) -> None:
    """Each into its own folder, settled or applied again upon the others."""
    uppers: list[Path] = []
    for number, data in enumerate(layers):
        upper = place / "root" / str(number)
        upper.mkdir()
        done = lay_upper(upper, data, None, options)
        if not settle(upper, done, uppers, options):
            upper = place / "root" / f"{number}-again"
            upper.mkdir()
            lay_upper(upper, data, uppers, options)
        uppers.insert(0, upper)


WAYS: dict[str, Callable[[Path, list[bytes], ApplyOptions], None]] = {"over": over, "alone": alone}
ways = pytest.mark.parametrize("way", list(WAYS))


def attempt(place: Path, layers: list[bytes], way: str, options: ApplyOptions = _OPTIONS) -> str:
    """What was said when the layers were applied, if anything; nothing outside was changed."""
    (place / "root").mkdir()
    before = state(place)
    said = ""
    try:
        WAYS[way](place, layers, options)
    except DistoreError as error:
        said = str(error)
    assert state(place) == before
    return said


BAD = b"bad"
UP = "../../outside"  # out of the folder of a layer, and out of the one of all layers
CORPUS: dict[str, tuple[list[bytes], str]] = {
    "dots": ([member("../secret", data=BAD)], "leads out of the image"),
    "dots in the middle": ([member("a/../../secret", data=BAD)], "leads out of the image"),
    "dots alone": ([member("..", FOLDER, mode=0)], "leads out of the image"),
    "absolute": ([member("/secret", data=BAD)], ""),
    "absolute dots": ([member("/../secret", data=BAD)], "leads out of the image"),
    "pax dots": ([with_records(member("x", data=BAD), {b"path": b"../secret"})], "leads out of the image"),
    "a NUL": ([with_records(member("x"), {b"path": b"a\0b"})], "a path with a NUL"),
    "a link with a NUL": ([with_records(member("x", LINK, "y"), {b"linkpath": b"a\0b"})], "with a NUL"),
    "a link out, and a file through it": ([member("l", LINK, UP), member("l/file", data=BAD)], ""),
    "a link to a link": ([member("a", LINK, "../.."), member("b", LINK, "a/outside"), member("b/file")], ""),
    "a link to all there is": ([member("l", LINK, "/"), member("l/secret", data=BAD)], ""),
    "the kernel's links": (
        [
            member("l", LINK, "/proc/self/cwd"),
            member("l/secret", data=BAD),
            member("m", LINK, "/proc/self/root"),
        ],
        "",
    ),
    "a file over a link": ([member("l", LINK, "../../secret"), member("l", data=BAD)], ""),
    "a folder over a link": ([member("l", LINK, UP), member("l", FOLDER, mode=0)], ""),
    "a folder that becomes a link": (
        [member("d", FOLDER), member("d/x"), member("d", LINK, UP), member("d/file", data=BAD)],
        "",
    ),
    "a folder that is a link for a while": (
        [member("d", FOLDER), member("d", LINK, UP), member("d", FOLDER), member("d/file", data=BAD)],
        "",
    ),
    "a whiteout through a link": ([member("l", LINK, UP), member("l/.wh.file")], ""),
    "opaque through a link": ([member("l", LINK, UP), member("l/.wh..wh..opq")], ""),
    "a whiteout of dots": ([member(".wh...")], "a whiteout of nothing"),
    "a whiteout of a dot": ([member(".wh..")], "a whiteout of nothing"),
    "a hard link out": ([member("a", HARD, "../../secret")], "leads out of the image"),
    "a hard link to the system": ([member("a", HARD, "/etc/passwd")], "which is not there"),
    "a hard link through a link": (
        [member("l", LINK, UP), member("a", HARD, "l/file")],
        "which is not there",
    ),
    "a hard link to a link, written to": (
        [member("l", LINK, "../../secret"), member("a", HARD, "l"), member("a", data=BAD)],
        "",
    ),
    "a hard link to a folder": ([member("d", FOLDER), member("a", HARD, "d")], "which is no file"),
    "mode, owner and time of a link": (
        [member("l", LINK, "../../secret", mode=0, uid=9, gid=9, mtime=1)],
        "",
    ),
    "attributes of a link": (
        [with_records(member("l", LINK, "../../secret"), {b"SCHILY.xattr.user.a": b"x"})],
        "",
    ),
    "links in a circle": ([member("a", LINK, "b"), member("b", LINK, "a"), member("a/x")], "too many links"),
    "a link to itself": ([member("a", LINK, "a"), member("a/x")], "too many links"),
    "a long chain of links": (
        [*(member(f"l{n}", LINK, f"l{n + 1}") for n in range(50)), member("l0/x")],
        "too many links",
    ),
    "links that double": (
        [
            member("l0", LINK, "."),
            *(member(f"l{n}", LINK, f"l{n - 1}/l{n - 1}") for n in range(1, 60)),
            member("l59/x"),
        ],
        "too many links",
    ),
    "a device": ([member("d", DEVICE, devmajor=1, devminor=1)], "a device, which only root can make"),
    "a pipe that is written to": ([member("p", PIPE), member("p", data=b"x")], ""),
    "a folder named as a whiteout": ([member(".wh.d/x")], "in a folder named as a whiteout"),
    "a root that is a link": ([member("./", LINK, UP)], "its root is no folder"),
    "a root that is a file": ([member("/", data=BAD)], "its root is no folder"),
    "a part that is too long": ([member("n" * 256)], "file name too long"),
    "a name that is too long": ([with_records(member("x"), {b"path": b"n/" * 2100})], "a name of over 4096"),
    "a link that is too long": (
        [with_records(member("x", LINK, "y"), {b"linkpath": b"n" * 4096})],
        "a link of",
    ),
    "huge pax": ([member("x", tarfile.XHDTYPE, size=1 << 30)], "an extension header of"),
    "a huge name": ([member("x", tarfile.GNUTYPE_LONGNAME, size=1 << 30)], "an extension header of"),
    "headers without end": ([member("x", tarfile.XGLTYPE)] * 20, "over 16 headers"),
    "a size below nothing": (
        [tarfile.TarInfo("f").tobuf(tarfile.GNU_FORMAT)[:124] + b"\xff" * 12 + bytes(376)],
        "damaged|not a tar",
    ),
    "an attribute with orders for the overlay": (
        [
            with_records(
                member("d", FOLDER),
                {
                    b"SCHILY.xattr.trusted.overlay.redirect": b"/outside",
                    b"SCHILY.xattr.user.overlay.opaque": b"y",
                },
            ),
            member("order", b"3"),
        ],
        "a device|^$",
    ),
}


@ways
@pytest.mark.parametrize("split", [False, True], ids=["one layer", "a layer each"])
@pytest.mark.parametrize("name", list(CORPUS))
def test_nothing_outside_is_touched(place: Path, name: str, way: str, split: bool) -> None:
    parts, says = CORPUS[name]
    layers = [layer(part) for part in parts] if split else [layer(*parts)]

    said = attempt(place, layers, way)

    if not split:
        assert bool(said) == bool(says) or "^$" in says
        assert not said or any(each in said for each in says.split("|"))


@ways
def test_no_name_of_the_overlay_is_made_by_a_layer(place: Path, way: str) -> None:
    orders = {b"SCHILY.xattr.trusted.overlay.opaque": b"y", b"SCHILY.xattr.user.overlay.opaque": b"y"}
    data = layer(with_records(member("d", FOLDER), orders), member("d/order", DEVICE), member("d/f"))

    said = attempt(place, [data], way, ApplyOptions(as_root=_OPTIONS.as_root, devices=Devices.MAKE))

    assert said == ""
    (folder,) = (place / "root").rglob("d")
    assert os.listxattr(folder) == []
    assert os.listdir(folder) == ["f"]


@ways
def test_bombs_are_stopped_at_their_limit(place: Path, way: str) -> None:
    packed = gzip.compress(layer(member("f", data=bytes(5_000_000))))
    plain = io.BytesIO()
    source = Decompressed(io.BytesIO(packed), subject="layer")
    space = memoryview(bytearray(1 << 20))
    while size := source.readinto(space):
        plain.write(space[:size])
    options = ApplyOptions(as_root=_OPTIONS.as_root, devices=Devices.REFUSE, max_size=2_000_000)

    assert "unpacks to more than 2000000 bytes" in attempt(place, [plain.getvalue()], way, options)


@ways
def test_names_without_end_are_stopped_at_their_limit(place: Path, way: str) -> None:
    options = ApplyOptions(as_root=_OPTIONS.as_root, devices=Devices.REFUSE, max_entries=100)

    said = attempt(place, [layer(*(member(f"f{number}") for number in range(101)))], way, options)

    assert said == "layer: more than 100 members"


@ways
def test_what_folders_say_of_themselves_has_a_limit(
    place: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laying, "MAX_RECORDS", 10_000)
    told = {b"comment": b"x" * 900}

    said = attempt(place, [layer(*(with_records(member(f"d{n}", FOLDER), told) for n in range(10)))], way)

    assert said == "layer: its folders have over 10000 bytes of records"


LONG = "/".join(["n" * 200] * 10)
MANY = range(40)


@ways
@pytest.mark.parametrize(
    "parts",
    [
        [member(f"l/d{n}", FOLDER) for n in MANY],
        [member(f"l/.wh.w{n}") for n in MANY],
        [member(f"l/w{n}") for n in MANY],
        [member(f"l/w{n}/f") for n in MANY],
    ],
    ids=["folders", "whiteouts", "files", "folders nobody tells of"],
)
def test_names_that_are_kept_have_a_limit_however_short_they_are_spelled(
    place: Path, way: str, parts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laying, "MAX_CHARACTERS", 50_000)
    below = [
        layer(*(member(f"{LONG}/w{n}", data=b"x") for n in range(start, start + 10))) for start in (0, 10)
    ]
    data = layer(with_records(member("l", LINK, "x"), {b"linkpath": LONG.encode()}), *parts)

    said = attempt(place, [*below, data], way)

    # Of files the form for overlayfs keeps no names, nor of whiteouts of nothing the other one.
    assert said in ("", "layer: has names of over 50000 characters")
    assert said or (way, parts[0][:100].rstrip(b"\0")) in {("alone", b"l/w0"), ("over", b"l/.wh.w0")}


@ways
@pytest.mark.parametrize("count", [3, 30])
def test_links_are_not_followed_without_end(
    place: Path, way: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laying, "MAX_LOOKED", 200_000)
    link = with_records(member("l", LINK, "x"), {b"linkpath": LONG.encode()})
    parts = [member(f"{LONG}/f"), link, *(member(f"l/e{n}/f") for n in range(count))]

    said = attempt(place, [layer(*parts)], way)

    assert said == ("" if count == 3 else "layer: the links and folders in it take too long to follow")


@ways
def test_the_same_name_a_thousand_times_is_one(place: Path, way: str) -> None:
    parts = [member("d/f", data=b"%d" % number) for number in range(1000)]
    parts += [member("d/.wh..wh..opq"), member(".wh.d")] * 500

    assert attempt(place, [layer(*parts)] * 2, way) == ""


@ways
@pytest.mark.slow
@pytest.mark.timeout(60)
def test_the_same_whiteout_again_and_again_costs_no_more(place: Path, way: str) -> None:
    names = layer(*(member(f"d/e{number % 40}/f{number}") for number in range(4000)))
    again = [member("d/.wh..wh..opq"), member(".wh.d")] * 20_000

    assert attempt(place, [names, layer(member("d/n"), *again), names + layer(*again)], way) == ""


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """The tar file with some bytes changed; sums of headers are made right again, mostly."""
    change = st.tuples(st.integers(0, max(0, len(data) - 1)), st.integers(0, 255))

    def changed(changes: list[tuple[int, int]], cut: int, mend: bool) -> bytes:
        out = bytearray(data)
        for at, value in changes:
            if out:
                out[at] = value
        if mend:
            for at in {at - at % 512 for at, _ in changes}:
                block = bytes(out[at : at + 512])
                if len(block) == 512 and block[257:262] == b"ustar":
                    out[at : at + 512] = summed(block[:148] + b" " * 8 + block[156:])
        return bytes(out[: len(out) - cut])

    return st.builds(
        changed, st.lists(change, max_size=6), st.sampled_from([0, 0, 0, 1, 511, 700]), st.booleans()
    )


HEADS = [
    member("l", LINK, "../../outside", mode=0o777),
    member("l/file", data=BAD, mtime=3),
    member("d/e", FOLDER, mode=0o700),
    member("d/.wh.f"),
    member("d/.wh..wh..opq"),
    member("h", HARD, "d/g"),
    with_records(
        member("x", data=b"y" * 600), {b"path": b"d/g", b"SCHILY.xattr.user.a": b"b", b"mtime": b"1.5"}
    ),
    member("p", PIPE),
]


@pytest.mark.slow
@ways
@given(st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_layers_end_in_one_of_our_errors_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, way: str, data: st.DataObject
) -> None:
    place = prepared(tmp_path_factory.mktemp("fuzz"))
    parts = data.draw(st.lists(st.sampled_from(HEADS), min_size=1, max_size=8))
    layers = [data.draw(mutations(layer(*parts)))]
    for entries in data.draw(stacks)[:2]:
        layers.append(data.draw(mutations(tar_of(entries))))

    attempt(place, layers, way)


@pytest.mark.slow
@given(st.binary(max_size=3000), st.sampled_from([b"", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x28\xb5\x2f\xfd"]))
@example(b"", b"\x1f\x8b")
@settings(max_examples=300, deadline=None)
def test_rubbish_of_every_compression_ends_in_one_of_our_errors(rubbish: bytes, magic: bytes) -> None:
    space = memoryview(bytearray(1 << 16))
    try:
        source = Decompressed(io.BytesIO(magic + rubbish), subject="layer")
        while source.readinto(space):
            pass
    except DistoreError as error:
        assert str(error).startswith("layer: ")
