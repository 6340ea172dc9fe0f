"""Import of archives that are damaged, cut, or made to do harm: no image is named that is not whole."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.ends_images import family, link, manifest_of, put, read, write_tar
from tests.unit.transfer.import_archives import (
    Members,
    Names,
    Target,
    blob_path,
    docker_archive,
    docker_files,
    files_of,
    images,
    index_of,
    layout,
    named,
    referrer,
    write,
)

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import (
    DataLoss,
    DigestMismatch,
    DiskFull,
    DistoreError,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    SizeMismatch,
)
from distore.images import walk
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.transfer import intake
from distore.transfer.importer import import_archive
from distore.transfer.progress import Done

HOWS = ["file", "stream", "folder"]
ARCHIVES = ["file", "stream"]
Change = Callable[[Members, str], None]


def two_images(folder: Path, change: Change, *, how: str) -> tuple[Target, Digest, Digest]:
    """Import ``bad:1``, whose first layer ``change`` spoils, and ``good:1``."""
    store, (bad, good) = images(1, 2)
    files = layout(files_of(store, bad, good), named(bad, "bad:1"), named(good, "good:1"))
    change(files, blob_path(family(store, bad)[0].digest))
    return Target().take(write(folder, files, how=how)), bad.digest, good.digest


def flipped(files: Members, name: str) -> None:
    files[name] = bytes([files[name][0] ^ 1]) + files[name][1:]


def shortened(files: Members, name: str) -> None:
    files[name] = files[name][:-1]


def removed(files: Members, name: str) -> None:
    del files[name]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (flipped, (DigestMismatch,)),
        (shortened, (FailedPrecondition, SizeMismatch, DigestMismatch)),
        (removed, (NotFound,)),
    ],
    ids=["flipped", "shortened", "removed"],
)
def test_a_damaged_image_is_not_named_and_the_other_is(
    change: Change, kinds: tuple[type[DistoreError], ...], how: str, tmp_path: Path
) -> None:
    target, _, good = two_images(tmp_path, change, how=how)

    assert target.names.digests == {"docker.io/library/good:1": good}
    assert len(target.errors) == 1
    assert target.classes[0] in kinds
    assert "image docker.io/library/bad:1: " in target.errors[0]
    assert "\n" not in target.errors[0]


@pytest.mark.parametrize("how", HOWS)
def test_what_a_damaged_image_brought_goes_again(how: str, tmp_path: Path) -> None:
    store, (bad, good) = images(1, 2)
    files = layout(files_of(store, bad, good), named(bad, "bad:1"), named(good, "good:1"))
    flipped(files, blob_path(family(store, bad)[0].digest))

    target = Target().take(write(tmp_path, files, how=how))

    assert target.digests == {good.digest, *(each.digest for each in family(store, good))}
    assert list(target.store.statuses()) == []


@pytest.mark.parametrize("how", HOWS)
def test_a_document_that_is_not_its_digest_is_refused(how: str, tmp_path: Path) -> None:
    # The only way in which an index could name itself.
    store, (one,) = images(1)
    digest = Digest.of(b"an index that names itself")
    itself = {"mediaType": mediatypes.OCI_INDEX, "digest": digest, "size": 0}
    data = b""
    for _ in range(3):  # until its size is right
        itself["size"] = len(data)
        document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [itself]}
        data = json.dumps(document).encode()
    files = layout({**files_of(store, one), blob_path(digest): data}, itself | {"annotations": {}})
    files = layout(files, {**itself, "size": len(data)}, named(one, "good:1"))

    target = Target().take(write(tmp_path, files, how=how), digests=True)

    assert target.names.digests == {"docker.io/library/good:1": one.digest}
    assert target.classes == [DigestMismatch]


@pytest.mark.parametrize("how", ARCHIVES)
def test_a_blob_that_is_there_twice_and_differs_spoils_its_image(how: str, tmp_path: Path) -> None:
    store, (bad, good) = images(1, 2)
    files = layout(files_of(store, bad, good), named(bad, "bad:1"), named(good, "good:1"))
    layer = blob_path(family(store, bad)[0].digest)

    target = Target().take(write(tmp_path, [*files.items(), (layer, b"other")], how=how))

    assert target.names.digests == {"docker.io/library/good:1": good.digest}
    assert "twice" in target.errors[0]


@pytest.mark.parametrize("how", ARCHIVES)
def test_a_file_that_is_cut_names_only_what_is_whole(how: str, tmp_path: Path) -> None:
    store, (first, second) = images(1, 2)
    head = layout({}, named(first, "first:1"), named(second, "second:1"))
    members = [*head.items(), *files_of(store, first).items(), *files_of(store, second).items()]
    data = write_tar(tmp_path / "whole", members).read_bytes()
    cut = data[: data.rstrip(b"\0").rfind(b"\0" * 20) - 600]
    (tmp_path / "cut").write_bytes(cut)

    target = Target().take(io.BytesIO(cut) if how == "stream" else str(tmp_path / "cut"))

    assert target.names.digests == {"docker.io/library/first:1": first.digest}
    assert target.classes[0] is DataLoss
    assert "truncated" in target.errors[0]
    assert target.digests == {first.digest, *(each.digest for each in family(store, first))}


@settings(max_examples=40, deadline=None)
@given(data=st.data(), packed=st.booleans())
def test_wherever_a_stream_ends_no_image_is_named_by_half(data: st.DataObject, packed: bool) -> None:
    store, (one, two) = images(1, 2)
    root = index_of(store, (one, "amd64"), (two, "s390x"))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in {**layout({}, named(root, "app:1")), **files_of(store, root)}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    whole = gzip.compress(out.getvalue(), 1) if packed else out.getvalue().rstrip(b"\0")
    end = data.draw(st.integers(0, len(whole) - 1))
    target = Target()

    try:
        target.take(io.BytesIO(whole[:end]))
    except (DataLoss, FailedPrecondition) as error:
        target.errors.append(str(error))

    if target.names.digests:  # what was cut off lies behind the end of the tar, which nobody reads
        assert target.digests == {root.digest, *(each.digest for each in family(store, root))}
    else:
        assert target.errors
        assert target.digests == set()
    assert list(target.store.statuses()) == []


@pytest.mark.parametrize("how", ARCHIVES)
@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "blobs/../../outside"])
def test_names_that_lead_elsewhere_are_nothing(name: str, how: str, tmp_path: Path) -> None:
    found, entry = docker_files(1, "redis:7")
    first = entry["Layers"][0]
    found[name] = found.pop(first)
    entry["Layers"][0] = name

    target = Target().take(write(tmp_path, docker_archive(found, entry), how=how))

    assert target.classes == [FailedPrecondition]
    assert "which it names, is not in it" in target.errors[0]
    assert target.digests == set()
    assert not (tmp_path.parent / "outside").exists()


@pytest.mark.parametrize("how", ARCHIVES)
@pytest.mark.parametrize(
    "other",
    [
        link("LAYER", "/etc/passwd"),
        link("LAYER", "../../../etc/passwd"),
        link("LAYER", "/etc/passwd", tarfile.LNKTYPE),
        link("LAYER", "", tarfile.CHRTYPE),
        link("LAYER", "", tarfile.FIFOTYPE),
        link("LAYER", "", tarfile.DIRTYPE),
    ],
)
def test_what_is_no_file_of_the_archive_is_not_followed(
    other: tarfile.TarInfo, how: str, tmp_path: Path
) -> None:
    found, entry = docker_files(1, "redis:7")
    name = entry["Layers"][0]
    del found[name]
    other.name = name

    target = Target().take(write(tmp_path, [*docker_archive(found, entry).items(), other], how=how))

    assert target.names.digests == {}
    assert target.classes == [FailedPrecondition]


def test_links_that_lead_to_each_other_end(tmp_path: Path) -> None:
    found, entry = docker_files(1, "redis:7")
    name = entry["Layers"][0]
    del found[name]
    members = [*docker_archive(found, entry).items(), link(name, "../b"), link("b", name)]

    for how in ARCHIVES:
        target = Target().take(write(tmp_path, members, how=how))
        assert "links that lead to each other" in target.errors[0]


def test_a_link_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    store, (one,) = images(1)
    path = Path(str(write(tmp_path, layout(files_of(store, one), named(one, "a:1")), how="folder")))
    layer = path / blob_path(family(store, one)[0].digest)
    layer.rename(tmp_path / "outside")
    layer.symlink_to(tmp_path / "outside")

    target = Target().take(str(path))

    assert target.names.digests == {}
    assert len(target.errors) == 1


@pytest.mark.parametrize("how", HOWS)
def test_a_manifest_that_is_wrong_about_a_size_spoils_its_image(how: str, tmp_path: Path) -> None:
    store, (one, good) = images(1, 2)
    *layers, config = family(store, one)
    wrong = replace(layers[0], size=layers[0].size + 1)
    bad = put(store, manifest_of(config, [wrong, *layers[1:]]), mediatypes.OCI_MANIFEST)
    files = layout(files_of(store, one, good), named(bad, "bad:1"), named(good, "good:1"))
    files[blob_path(bad.digest)] = read(store, bad.digest)

    target = Target().take(write(tmp_path, files, how=how))

    assert list(target.names.digests) == ["docker.io/library/good:1"]
    assert f"{wrong.size - 1} bytes, manifest {bad.digest} says {wrong.size}" in target.errors[0]


@pytest.mark.parametrize("how", HOWS)
def test_a_manifest_over_the_limit_is_refused(how: str, tmp_path: Path) -> None:
    store, (one,) = images(1)
    data = b'{"schemaVersion":2,"layers":[' + b" " * (4 * 1024 * 1024) + b"]}"
    large = put(store, data, mediatypes.OCI_MANIFEST)
    files = layout(
        {**files_of(store, one), blob_path(large.digest): data}, named(large, "bad:1"), named(one, "good:1")
    )

    target = Target().take(write(tmp_path, files, how=how))

    assert list(target.names.digests) == ["docker.io/library/good:1"]
    assert target.classes == [ResourceExhausted]


def test_too_many_children_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_OBJECTS", 3)
    store, (one,) = images(1)

    target = Target().take(write(tmp_path, layout(files_of(store, one), named(one, "bad:1")), how="file"))

    assert target.classes == [ResourceExhausted]


@pytest.mark.parametrize("how", ARCHIVES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_layer_that_is_not_the_one_of_the_config_is_refused(
    pack: Callable[[bytes], bytes], how: str, tmp_path: Path
) -> None:
    (found, bad), (other, good) = docker_files(1, "bad:1"), docker_files(2, "good:1")
    name = bad["Layers"][0]
    flipped(found, name)
    found[name] = pack(found[name])

    target = Target().take(write(tmp_path, docker_archive({**found, **other}, bad, good), how=how))

    assert list(target.names.digests) == ["docker.io/library/good:1"]
    assert len(target.errors) == 1
    assert Digest.of(found[name]) not in target.digests


@pytest.mark.parametrize("how", ARCHIVES)
def test_a_name_of_two_images_is_the_name_of_neither(how: str, tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    files = layout(files_of(store, one, two), named(one, "a:1"), named(two, "a:1"), named(two, "b:1"))

    target = Target().take(write(tmp_path, files, how=how))

    assert target.names.digests == {"docker.io/library/b:1": two.digest}
    assert "docker.io/library/a:1 stands for both" in target.errors[0]


@pytest.mark.parametrize("entry", [{}, {"mediaType": "x"}, 1, [], {"digest": "sha256:0", "size": -1}])
def test_an_entry_that_is_no_descriptor_stops_no_image(entry: object, tmp_path: Path) -> None:
    store, (one,) = images(1)
    files = layout(files_of(store, one), named(one, "a:1"))
    index = json.loads(files["index.json"])
    index["manifests"].append(entry)
    files["index.json"] = json.dumps(index).encode()

    try:
        target = Target().take(write(tmp_path, files, how="file"))
    except FailedPrecondition as error:
        assert "not a list of objects" in str(error)
    else:
        assert list(target.names.digests) == ["docker.io/library/a:1"]
        assert len(target.errors) == 1


def test_a_broken_signature_leaves_the_image(tmp_path: Path) -> None:
    store, (one,) = images(1)
    signature = referrer(store, one)
    files = layout(files_of(store, one, signature), named(one, "a:1"), named(signature))
    flipped(files, blob_path(Digest.of(b"signed")))
    removed(files, blob_path(Digest.of(b"{}")))

    target = Target().take(write(tmp_path, files, how="file"))

    assert list(target.names.digests) == ["docker.io/library/a:1"]
    assert target.classes == [NotFound]


@pytest.mark.parametrize("how", HOWS)
def test_an_index_of_which_nothing_is_there_is_refused(how: str, tmp_path: Path) -> None:
    store, (one,) = images(1)
    root = index_of(store, (one, "amd64"))
    files = layout({blob_path(root.digest): read(store, root.digest)}, named(root, "a:1"))

    target = Target().take(write(tmp_path, files, how=how))

    assert target.classes == [NotFound]
    assert target.digests == set()


def test_many_small_files_are_no_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(intake, "_KEPT", 1000)
    members = [(f"file-{number}", bytes(300)) for number in range(5)]

    with pytest.raises(ResourceExhausted, match="not the archive of an image"):
        Target().take(write(tmp_path, members, how="stream"))


def test_a_disk_that_is_too_small_ends_it_before_the_first_blob(tmp_path: Path) -> None:
    class Small(MemoryStore):
        def free_space(self) -> int:
            return 10

    store, (one,) = images(1)
    target = Target(store=Small())

    with pytest.raises(DiskFull):
        target.take(write(tmp_path, layout(files_of(store, one), named(one, "a:1")), how="file"))

    assert target.digests == set()


@pytest.mark.parametrize("how", HOWS)
def test_an_import_that_is_ended_early_names_nothing_and_leaves_nothing(how: str, tmp_path: Path) -> None:
    store, (one,) = images(1)
    names, kept, left = Names(), LocalStore(str(tmp_path / "s")), list[Digest]()
    source = write(tmp_path, layout(files_of(store, one), named(one, "a:1")), how=how)
    events = import_archive(source, store=kept, images=names, discard=left.extend)

    for event in events:
        if isinstance(event, Done):
            break
    events.close()

    assert names.digests == {}
    assert set(left) == {info.digest for info in kept.walk()}
    assert list(kept.statuses()) == []
