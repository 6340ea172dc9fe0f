"""Layers merged into one: what is seen through them, and nothing else."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from tests.unit.diff.overlay_layers import Entry, Impossible, Tree, stacks, tar_of

from distore.diff import overlaytar
from distore.diff.overlaytar import LayerTar, Overlay, merged
from distore.diff.tarmember import Member, members
from distore.errors import DataLoss, FailedPrecondition, ResourceExhausted


@contextmanager
def cut(data: bytes, size: int) -> Iterator[Iterator[bytes]]:
    yield (data[at : at + size] for at in range(0, len(data), size))


def merge(layers: Sequence[bytes], *, pieces: int = 1000, **options: int) -> bytes:
    tars = [LayerTar(subject=f"layer {n}", open=partial(cut, data, pieces)) for n, data in enumerate(layers)]
    return b"".join(bytes(chunk) for chunk in merged(tars, **options))


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def extracted(*layers: bytes) -> Tree:
    tree = Tree()
    for layer in layers:
        tree.lay(layer)
    return tree


def flat(*layers: list[Entry]) -> list[str]:
    """The names of a merge, which has the tree of its layers."""
    tars = [tar_of(layer) for layer in layers]
    result = merge(tars)
    assert extracted(result).shown() == extracted(*tars).shown()
    return names(result)


def file(path: str, seed: int = 1) -> Entry:
    return Entry("file", path, seed=seed)


@pytest.mark.slow
@given(stacks, st.integers(1, 3000))
@settings(max_examples=300, deadline=None)
def test_the_merge_has_the_tree_of_extracting_one_layer_after_the_other(
    stack: list[list[Entry]], pieces: int
) -> None:
    layers = [tar_of(layer) for layer in stack]
    try:
        wanted = extracted(*layers)
    except Impossible:
        event("impossible")
        with pytest.raises(FailedPrecondition):
            merge(layers, pieces=pieces)
        return
    assume(all(len(path) < 9 for path in wanted.things))

    result = merge(layers, pieces=pieces)

    assert extracted(result).shown() == wanted.shown()
    assert not any(".wh." in name for name in names(result))
    assert merge([result]) == result


def test_a_whiteout_removes_what_lower_layers_have_and_no_trace_of_it_is_left() -> None:
    assert flat([file("a"), file("b")], [Entry("wh", "a")]) == ["b"]
    assert flat([Entry("dir", "a"), file("a/x")], [Entry("wh", "a")]) == []


def test_a_whiteout_spares_what_its_own_layer_has_whatever_the_order() -> None:
    assert flat([file("a")], [file("a", 2), Entry("wh", "a")]) == ["a"]
    assert flat([file("a")], [Entry("wh", "a"), file("a", 2)]) == ["a"]


def test_a_whiteout_may_remove_what_a_later_layer_brings_back() -> None:
    assert flat([file("a")], [Entry("wh", "a")], [file("a", 3)]) == ["a"]


def test_an_opaque_folder_hides_all_that_was_in_it() -> None:
    lower = [Entry("dir", "d"), file("d/x"), file("d/e/y")]

    assert flat(lower, [Entry("dir", "d"), Entry("opq", "d"), file("d/z")]) == ["d", "d/z"]
    assert flat(lower, [file("d/z"), Entry("opq", "d")]) == ["d", "d/z"]


def test_a_file_in_the_place_of_a_folder_removes_all_below_it() -> None:
    assert flat([Entry("dir", "d"), file("d/x")], [file("d", 2)]) == ["d"]


def test_a_folder_in_the_place_of_a_file_or_a_link_takes_it() -> None:
    assert flat([file("d")], [Entry("dir", "d"), file("d/x")]) == ["d", "d/x"]
    assert flat([Entry("dir", "e"), Entry("sym", "d", "e")], [Entry("dir", "d"), file("d/x")]) == [
        "d",
        "e",
        "d/x",
    ]


def test_names_below_a_link_to_a_folder_go_where_it_leads() -> None:
    lower = [Entry("dir", "usr"), Entry("dir", "usr/bin"), Entry("sym", "bin", "usr/bin")]

    assert flat(lower, [file("bin/sh")]) == ["usr", "usr/bin", "bin", "usr/bin/sh"]
    assert flat([*lower, file("usr/bin/sh")], [Entry("wh", "bin/sh")]) == ["usr", "usr/bin", "bin"]


def test_links_never_lead_out_of_the_image() -> None:
    assert flat([Entry("sym", "a", "../../../etc")], [file("a/passwd")]) == ["a", "etc/passwd"]
    assert flat([Entry("sym", "a", "/etc")], [file("a/passwd")]) == ["a", "etc/passwd"]


def test_a_hard_link_outlives_the_name_it_was_made_of() -> None:
    layers = ([file("a"), Entry("link", "b", "a"), Entry("link", "c", "a")], [Entry("wh", "a")])
    result = merge([tar_of(layer) for layer in layers])

    with tarfile.open(fileobj=io.BytesIO(result)) as tar:
        first, second = tar.getmembers()
    assert (first.name, first.isreg(), first.size) == ("b", True, 6)
    assert (second.name, second.islnk(), second.linkname) == ("c", True, "b")


def test_a_hard_link_may_be_to_a_file_of_a_lower_layer() -> None:
    assert flat([file("z")], [Entry("link", "a", "z")]) == ["a", "z"]


def test_replacing_one_name_of_a_file_leaves_the_others() -> None:
    assert flat([file("a"), Entry("link", "b", "a")], [file("a", 2)]) == ["b", "a"]


def test_a_folder_that_only_a_removed_name_told_of_is_there_still() -> None:
    assert flat([file("d/x")], [Entry("wh", "d/x")]) == ["d"]


def test_every_kind_of_member_keeps_what_is_told_of_it() -> None:
    info = tarfile.TarInfo("ü" * 60 + "/" + "x" * 90)
    info.pax_headers = {"SCHILY.xattr.user.a": "ü", "mtime": "12.5", "comment": "hm", "uid": "99999999"}
    info.mtime, info.uid, info.gid, info.uname, info.mode = 12.5, 99_999_999, 7, "jürgen", 0o4711
    device = tarfile.TarInfo("null")
    device.type, device.devmajor, device.devminor, device.mtime = tarfile.CHRTYPE, 1, 3, -5
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
        tar.addfile(device)

    with tarfile.open(fileobj=io.BytesIO(merge([out.getvalue()]))) as tar:
        long, short = tar.getmembers()
    assert (long.name, long.mode, long.uid, long.gid, long.uname, long.mtime) == (
        info.name,
        0o4711,
        99_999_999,
        7,
        "jürgen",
        12.5,
    )
    assert long.pax_headers["SCHILY.xattr.user.a"] == "ü"
    assert (short.name, short.type, short.devmajor, short.devminor, short.mtime) == (
        "null",
        tarfile.CHRTYPE,
        1,
        3,
        -5,
    )


def test_binary_values_of_attributes_are_kept_byte_for_byte() -> None:
    value = b"\x01\0\0\x02\xff\n=\0"
    record = b"SCHILY.xattr.security.capability=" + value + b"\n"
    data = b"%d " % (len(record) + 3) + record
    extension, plain = tarfile.TarInfo("x"), tarfile.TarInfo("ping")
    extension.type, extension.size = tarfile.XHDTYPE, len(data)
    layer = b"".join(
        [extension.tobuf(tarfile.USTAR_FORMAT), data.ljust(512, b"\0"), plain.tobuf(), bytes(1024)]
    )

    assert data in merge([layer])
    assert merge([merge([layer])]) == merge([layer])


def test_gnu_long_names_are_read_and_the_root_is_told_of_first() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("./" + "d" * 150))
        root = tarfile.TarInfo("./")
        root.type, root.mode = tarfile.DIRTYPE, 0o750
        tar.addfile(root)

    with tarfile.open(fileobj=io.BytesIO(merge([out.getvalue()]))) as tar:
        first, second = tar.getmembers()
    assert (first.name, first.mode, second.name) == (".", 0o750, "d" * 150)


@pytest.mark.parametrize(
    ("name", "result"), [("/etc/x", "etc/x"), ("./a//b", "a/b"), ("a/../b", "b"), ("a/./b/", "a/b")]
)
def test_a_name_has_one_spelling(name: str, result: str) -> None:
    assert names(merge([tar_of([file(name)])])) == [result]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/../x", ".."])
def test_a_name_that_leads_out_of_the_image_is_refused(name: str) -> None:
    with pytest.raises(FailedPrecondition, match=r"layer 0: '.*' leads out of the image"):
        merge([tar_of([file(name)])])


def test_a_name_with_a_nul_is_refused() -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"path": "a\0b"}

    with pytest.raises(FailedPrecondition, match="a path with a NUL in it"):
        merge([info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)])


@pytest.mark.parametrize("name", [".wh.", "a/.wh..", ".wh...", ".wh.d/x"])
def test_a_whiteout_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(FailedPrecondition, match="whiteout"):
        merge([tar_of([file(name)])])


def test_what_aufs_keeps_for_itself_is_left_out() -> None:
    assert names(merge([tar_of([file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs"), file("a")])])) == ["a"]


def test_a_hard_link_to_nothing_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match=r"layer 1: 'b' is a hard link to 'a', which is not there"):
        merge([tar_of([file("a")]), tar_of([Entry("wh", "a"), Entry("link", "b", "a")])])
    with pytest.raises(FailedPrecondition, match="which is no file"):
        merge([tar_of([Entry("dir", "a"), Entry("link", "b", "a")])])


def test_links_that_lead_to_each_other_are_refused() -> None:
    layer = tar_of([Entry("sym", "a", "b"), Entry("sym", "b", "a"), file("a/x")])

    with pytest.raises(FailedPrecondition, match="layer 0: too many links on the way to 'a'"):
        merge([layer])


@pytest.mark.parametrize("end", [10, 511, 600, 1024, 1500])
def test_a_truncated_layer_is_data_loss(end: int) -> None:
    layer = tar_of([file("a", 49), file("b", 49)])

    with pytest.raises((DataLoss, FailedPrecondition), match=r"truncated|not a tar file"):
        merge([layer[:end]])


def test_what_is_no_tar_file_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match="layer 0: not a tar file"):
        merge([b"nonsense" * 200])
    with pytest.raises(FailedPrecondition, match="layer 0: not a tar file"):
        merge([b""])


def test_an_empty_layer_is_one() -> None:
    assert names(merge([bytes(1024)])) == []
    assert flat([file("a")], []) == ["a"]


def test_more_names_than_allowed_are_refused() -> None:
    with pytest.raises(ResourceExhausted, match="more than 2 names"):
        merge([tar_of([file("a"), file("b"), file("c")])], max_names=2)


def test_headers_without_an_end_take_no_memory() -> None:
    extension = tarfile.TarInfo("x")
    extension.type = tarfile.XGLTYPE

    with pytest.raises(ResourceExhausted, match="headers for one member"):
        merge([extension.tobuf(tarfile.USTAR_FORMAT) * 100])


def test_a_whiteout_that_comes_again_and_again_costs_no_more_than_one() -> None:
    count = 1000
    layers = [
        [file("d/old")],
        [*(file(f"d/{n}") for n in range(count)), *(Entry("opq", "d") for _ in range(count))],
    ]
    steps = 0

    class Counted(dict[str, object]):
        def items(self) -> object:  # type: ignore[override]
            nonlocal steps
            steps += len(self)
            return super().items()

    overlay = Overlay()
    for layer in layers:
        overlay.begin_layer()
        for found in members([tar_of(layer)], subject="x"):
            if isinstance(found, Member):
                overlay.add(found, subject="x")
                node = overlay._root.below["d"]  # type: ignore[index]  # a folder
                if type(node.below) is dict:
                    node.below = Counted(node.below)

    assert steps <= count + 1
    assert len(overlay.winners()) == count


def test_links_on_the_way_to_names_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlaytar, "MAX_STEPS", 100)
    layer = [Entry("dir", "a"), Entry("sym", "l", target="/".join(["a", ".."] * 10 + ["a"]))]
    layer += [file(f"l/{number}") for number in range(10)]

    with pytest.raises(ResourceExhausted, match="its links lead over 100 folders"):
        merge([tar_of(layer)])


def test_records_of_folders_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlaytar, "MAX_RECORDS", 1000)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(5):
            info = tarfile.TarInfo(f"d{number}")
            info.type, info.pax_headers = tarfile.DIRTYPE, {"SCHILY.xattr.user.x": f"{number}" * 400}
            tar.addfile(info)

    with pytest.raises(ResourceExhausted, match="its folders have over 1000 bytes of records"):
        merge([out.getvalue()])


def test_many_names_in_a_deep_folder_do_not_take_their_length_each() -> None:
    deep = "/".join(["folder" * 30] * 20)
    layer = tar_of(
        [Entry("dir", deep), Entry("sym", "s", target=deep), *(file(f"s/{n}") for n in range(300))]
    )
    overlay = Overlay()
    overlay.begin_layer()
    for found in members([layer], subject="x"):
        if isinstance(found, Member):
            overlay.add(found, subject="x")

    tracemalloc.start()
    count = sum(1 for _ in overlay._nodes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count == 300 + 22
    assert peak < 100 * len(deep)
