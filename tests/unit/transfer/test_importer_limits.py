"""Archives that are small and mean much work, or have much to say."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tests.unit.transfer.ends_images import make_image, read
from tests.unit.transfer.import_archives import (
    Target,
    blob_path,
    docker_archive,
    docker_files,
    files_of,
    images,
    index_of,
    layout,
    named,
    put,
    write,
)

from distore.content.memory import MemoryStore
from distore.errors import DataLoss, FailedPrecondition, ResourceExhausted
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer import dockerentries, imported, importplan, pouring
from distore.transfer.progress import Noted

HOWS = ["file", "stream", "folder"]


class Trickle:
    """A stream that gives what it is told, piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self.left = list(pieces)

    def read(self, _size: int) -> bytes:
        return self.left.pop(0) if self.left else b""


def similar(store: MemoryStore, root: Descriptor, count: int) -> list[Descriptor]:
    """Other manifests of the same layers."""
    document = json.loads(read(store, root.digest))
    return [
        put(
            store,
            json.dumps({**document, "annotations": {"n": str(n)}}).encode(),
            mediatypes.OCI_MANIFEST,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("how", HOWS)
def test_all_images_of_docker_save_come_though_they_have_no_tags(how: str, tmp_path: Path) -> None:
    one, entry = docker_files(1)
    two, other = docker_files(2)

    target = Target().take(write(tmp_path, docker_archive(one | two, entry, other), how=how), digests=True)

    assert target.errors == []
    assert len(target.names.images) == 2


def test_a_tag_of_two_images_of_docker_save_is_the_name_of_neither(tmp_path: Path) -> None:
    one, entry = docker_files(1, "a:1", "b:1")
    two, other = docker_files(2, "a:1")

    target = Target().take(write(tmp_path, docker_archive(one | two, entry, other), how="file"))

    assert set(target.names.images) == {"docker.io/library/b:1"}
    assert "docker.io/library/a:1 stands for both" in target.errors[0]


@pytest.mark.parametrize("how", ["file", "stream", "folder"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_layer_with_many_wrong_diff_ids_is_read_a_few_times_only(
    how: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"layer": gzip.compress(bytes(100_000)) if packed else bytes(100_000)}
    wrong = []
    for number in range(20):
        text = {"architecture": "a", "os": "linux", "rootfs": {"diff_ids": [f"sha256:{number:064x}"]}}
        files[f"{number}.json"] = json.dumps(text).encode()
        wrong.append({"Config": f"{number}.json", "Layers": ["layer"], "RepoTags": [f"a:{number}"]})
    source = write(tmp_path, docker_archive(files, *wrong), how=how)
    poured = 0
    pour = pouring.pour

    def counted(*args: object, **kwargs: object) -> None:
        nonlocal poured
        poured += 1
        pour(*args, **kwargs)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(dockerentries, "pour", counted)

    target = Target().take(source)

    assert len(target.errors) == 20
    assert target.names.images == {}
    assert target.digests == set()
    assert poured <= 1


def test_configs_have_a_limit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, entry = docker_files(1, "a:1")
    monkeypatch.setattr(dockerentries, "MAX_CONFIGS", 2 * len(files[entry["Config"]]))

    target = Target().take(write(tmp_path, docker_archive(files, entry, entry, entry), how="file"))

    assert target.classes == [ResourceExhausted]
    assert set(target.names.images) == {"docker.io/library/a:1"}


def test_what_many_images_name_is_counted_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importplan, "MAX_OBJECTS", 12)
    store, (one,) = images(1)
    roots = [index_of(store, (each, "amd64")) for each in similar(store, one, 6)]
    files = layout(files_of(store, *roots), *(named(root, f"a:{n}") for n, root in enumerate(roots)))

    target = Target().take(write(tmp_path, files, how="file"))

    assert set(target.classes) == {ResourceExhausted}
    assert "the images in it have over 12 objects" in target.errors[0]
    assert 0 < len(target.names.images) < 6


def test_documents_that_are_read_again_and_again_have_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, (one,) = images(1)
    monkeypatch.setattr(imported, "MAX_READ", 3 * one.size)
    roots = [index_of(store, (one, "amd64"), n=n) for n in range(8)]
    files = layout(files_of(store, *roots), *(named(root, f"a:{n}") for n, root in enumerate(roots)))

    target = Target().take(write(tmp_path, files, how="file"))

    assert set(target.classes) == {ResourceExhausted}
    assert target.names.images == {}
    assert target.digests == set()


def test_of_many_errors_and_notes_the_first_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    store, (one,) = images(1)
    nameless = [named(each) for each in similar(store, one, 70)]
    damaged = [
        named(Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"%d" % n), size=5), f"b:{n}")
        for n in range(60)
    ]
    files = layout(files_of(store, one), named(one, "a:1"), *nameless, *damaged)

    target = Target().take(write(tmp_path, files | files_of(store, *similar(store, one, 70)), how="file"))

    assert set(target.names.images) == {"docker.io/library/a:1"}
    assert len(target.errors) == 51
    assert target.errors[-1].endswith("a.tar: and 10 errors more")
    assert target.classes[-1] is FailedPrecondition
    notes = target.said(Noted)
    assert len(notes) == 51
    assert notes[-1].text.endswith("a.tar: and 20 notes more")


def test_what_lies_behind_the_end_of_a_packed_archive_is_not_unpacked(tmp_path: Path) -> None:
    store, root = make_image(1)
    path = write(tmp_path, layout(files_of(store, root), named(root, "a:1")), how="file")
    assert isinstance(path, str)
    stream = Trickle(gzip.compress(Path(path).read_bytes()), *[b"no gzip" * 1000] * 100)

    target = Target().take(stream)  # type: ignore[arg-type]  # what is used of a BinaryIO

    assert target.errors == []
    assert stream.left == []


def test_blobs_may_lie_in_a_folder_that_layouts_share(tmp_path: Path) -> None:
    store, root = make_image(1)
    path = Path(str(write(tmp_path, layout(files_of(store, root), named(root, "a:1")), how="folder")))
    (path / "blobs").rename(tmp_path / "shared")
    (path / "blobs").symlink_to(tmp_path / "shared")

    target = Target().take(str(path))

    assert target.names.digests == {"docker.io/library/a:1": root.digest}


def test_a_name_of_docker_save_leads_out_of_no_folder(tmp_path: Path) -> None:
    found, entry = docker_files(1, "a:1", layer="in/{n}.tar")
    path = Path(str(write(tmp_path, docker_archive(found, entry), how="folder")))
    (path / "in").rename(tmp_path / "outside")
    (path / "in").symlink_to(tmp_path / "outside")

    target = Target().take(str(path))

    assert target.classes == [FailedPrecondition]
    assert "is not a regular file, or behind a link" in target.errors[0]


def test_a_blob_that_is_a_link_is_named(tmp_path: Path) -> None:
    store, root = make_image(1)
    path = Path(str(write(tmp_path, layout(files_of(store, root), named(root, "a:1")), how="folder")))
    blob = path / blob_path(root.digest)
    blob.rename(tmp_path / "outside")
    blob.symlink_to(tmp_path / "outside")

    target = Target().take(str(path))

    assert target.classes != [DataLoss]
    assert f"blobs/sha256/{root.digest.encoded}' is not a regular file" in target.errors[0]
