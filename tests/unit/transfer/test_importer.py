"""Import of archives and layouts: which images, by which names, and what refers to them."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from tests.unit.transfer.ends_images import family, link, make_image, read
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
    referrer,
    write,
)

from distore.content.local.store import LocalStore
from distore.errors import FailedPrecondition, InvalidArgument, NotFound
from distore.images.gclabels import gc_labels, referrers_of
from distore.images.select import Selection
from distore.oci.digest import Digest
from distore.oci.manifest import parse_manifest
from distore.oci.platform import Platform
from distore.oci.reference import Reference
from distore.transfer.importer import import_archive
from distore.transfer.progress import Done, Finished, Noted, Planned, Resolved

HOWS = ["file", "stream", "folder"]
ARCHIVES = ["file", "stream"]


@pytest.mark.parametrize("how", HOWS)
def test_every_image_comes_by_all_its_names(how: str, tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    files = layout(
        files_of(store, one, two),
        named(one, "redis:7"),
        named(two, "7", long="r.example/app:7"),
        named(one, "r.example/mirror/redis:7"),
    )

    target = Target().take(write(tmp_path, files, how=how))

    assert target.names.digests == {
        "docker.io/library/redis:7": one.digest,
        "r.example/mirror/redis:7": one.digest,
        "r.example/app:7": two.digest,
    }
    assert target.digests == {each.digest for root in (one, two) for each in (root, *family(store, root))}
    assert {event.name for event in target.said(Finished)} == set(target.names.digests)
    assert {event.name for event in target.said(Resolved)} == set(target.names.digests)
    assert (target.errors, target.left) == ([], [])


@pytest.mark.parametrize("how", HOWS)
def test_documents_say_what_they_keep(how: str, tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    root = index_of(store, (one, "amd64"), (two, "s390x"))
    files = layout(files_of(store, root), named(root, "app:1"))

    target = Target().take(write(tmp_path, files, how=how))

    for document in (root, one, two):
        data = read(store, document.digest)
        parsed = parse_manifest(data, media_type=None, subject="x")
        assert target.store.info(document.digest).labels == gc_labels(parsed)


@pytest.mark.parametrize("how", HOWS)
def test_what_is_there_is_not_written_again(how: str, tmp_path: Path) -> None:
    store, root = make_image(1)
    files = layout(files_of(store, root), named(root, "app:1"))
    target = Target().take(write(tmp_path, files, how=how))
    target.events.clear()

    target.take(write(tmp_path, files, how=how))

    assert {event.how for event in target.said(Done) if event.digest != root.digest} == {"present"}
    assert [(event.missing, event.missing_blobs) for event in target.said(Planned)] == [(0, 0)]


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: data])
def test_a_stream_is_read_once_and_needs_no_file(pack: object, tmp_path: Path) -> None:
    class Once(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self._rest = data

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # enough for a pipe
            size = min(len(buffer), 700, len(self._rest))
            buffer[:size], self._rest = self._rest[:size], self._rest[size:]
            return size

    store, root = make_image(1)
    path = write(tmp_path, layout(files_of(store, root), named(root, "app:1")), how="file")
    data = pack(Path(str(path)).read_bytes())  # type: ignore[operator]  # a function

    target = Target().take(Once(data))  # type: ignore[arg-type]  # it can be read

    assert target.names.digests == {"docker.io/library/app:1": root.digest}


def test_a_compressed_file_is_read_as_a_stream(tmp_path: Path) -> None:
    store, root = make_image(1)
    path = Path(str(write(tmp_path, layout(files_of(store, root), named(root, "app:1")), how="file")))
    path.write_bytes(gzip.compress(path.read_bytes()))

    target = Target().take(str(path))

    assert list(target.names.digests.values()) == [root.digest]


def test_large_blobs_of_a_stream_go_straight_into_the_store(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    files = layout({blob_path(Digest.of(data)): data})
    target = Target(store=LocalStore(str(tmp_path / "s")))

    with pytest.raises(FailedPrecondition, match="holds no image"):
        target.take(write(tmp_path, files, how="stream"))

    assert [event.digest for event in target.said(Done)] == [Digest.of(data)]
    assert target.left == [Digest.of(data)]
    assert list(target.store.statuses()) == []


@pytest.mark.parametrize("how", HOWS)
def test_a_bare_tag_needs_a_base(how: str, tmp_path: Path) -> None:
    store, root = make_image(1)
    files = layout(files_of(store, root), named(root, "v1"))

    with pytest.raises(FailedPrecondition, match="no image in it has a whole name; give --base-name"):
        Target().take(write(tmp_path, files, how=how))
    target = Target().take(
        write(tmp_path, files, how=how), base_name=Reference.parse_name("r.example/team/app")
    )

    assert list(target.names.digests) == ["r.example/team/app:v1"]


def test_an_image_without_a_name_beside_one_that_has_one_is_a_note(tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    files = layout(files_of(store, one, two), named(one, "app:1"), named(two, "v2"))

    target = Target().take(write(tmp_path, files, how="file"))

    assert list(target.names.digests.values()) == [one.digest]
    assert two.digest not in target.digests
    (note,) = target.said(Noted)
    assert f"{two.digest} has no name but the tag 'v2'; passed over" in note.text


def test_one_image_takes_the_names_that_are_given(tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    names = (Reference.parse("a:1"), Reference.parse("b:2"))
    single = layout(files_of(store, one), named(one, "v1"))
    double = layout(files_of(store, one, two), named(one, "v1"), named(two, "v2"))

    target = Target().take(write(tmp_path, single, how="file"), names=names)
    with pytest.raises(InvalidArgument, match="holds 2 images, a name is for one"):
        Target().take(write(tmp_path, double, how="file"), names=names)

    assert list(target.names.digests) == ["docker.io/library/a:1", "docker.io/library/b:2"]


@pytest.mark.parametrize("base", [None, "r.example/app"])
def test_an_image_can_be_named_by_its_digest(base: str | None, tmp_path: Path) -> None:
    store, root = make_image(1)
    files = layout(files_of(store, root), named(root))

    target = Target().take(
        write(tmp_path, files, how="file"),
        digests=True,
        base_name=Reference.parse_name(base) if base else None,
    )

    assert list(target.names.digests) == [f"{base or 'localhost/imported'}@{root.digest}"]


@pytest.mark.parametrize("how", HOWS)
def test_an_index_may_lack_what_it_names(how: str, tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    root = index_of(store, (one, "amd64"), (two, "s390x"))
    files = layout(
        {**files_of(store, one), blob_path(root.digest): read(store, root.digest)}, named(root, "app:1")
    )

    target = Target().take(write(tmp_path, files, how=how))

    assert target.names.digests == {"docker.io/library/app:1": root.digest}
    assert target.digests == {root.digest, one.digest, *(each.digest for each in family(store, one))}
    assert any(str(two.digest) in note.text for note in target.said(Noted))


@pytest.mark.parametrize("how", HOWS)
def test_a_platform_is_chosen_and_one_that_is_not_there_is_an_error(how: str, tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    root = index_of(store, (one, "amd64"), (two, "s390x"))
    files = layout(files_of(store, root), named(root, "app:1"))

    def chosen(text: str) -> Target:
        selection = Selection(platforms=(Platform.parse(text),))
        return Target().take(write(tmp_path, files, how=how), selection=selection)

    some, none = chosen("linux/s390x"), chosen("linux/riscv64")

    assert some.digests == {root.digest, two.digest, *(each.digest for each in family(store, two))}
    assert none.classes == [NotFound]
    assert none.digests == set(none.names.digests) == set()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("reverse", [False, True])
def test_what_refers_to_an_image_is_attached_whatever_comes_first(
    how: str, reverse: bool, tmp_path: Path
) -> None:
    store, root = make_image(1)
    signature = referrer(store, root)
    about = referrer(store, signature, b"about the signature")
    entries = [named(root, "app:1"), named(signature), named(about)]
    members = list(layout(files_of(store, root, signature, about), *entries[:: -1 if reverse else 1]).items())

    target = Target().take(write(tmp_path, members[:: -1 if reverse else 1], how=how))

    assert target.names.digests == {"docker.io/library/app:1": root.digest}
    assert referrers_of(target.store.info(root.digest).labels) == [signature.digest]
    assert referrers_of(target.store.info(signature.digest).labels) == [about.digest]
    assert (target.errors, target.left, target.said(Noted)) == ([], [], [])


def test_what_refers_to_an_image_of_the_store_is_attached_to_it(tmp_path: Path) -> None:
    store, root = make_image(1)
    signature = referrer(store, root)
    target = Target().take(write(tmp_path, layout(files_of(store, root), named(root, "app:1")), how="file"))

    target.take(write(tmp_path, layout(files_of(store, signature), named(signature)), how="file"))

    assert referrers_of(target.store.info(root.digest).labels) == [signature.digest]
    assert list(target.names.digests) == ["docker.io/library/app:1"]
    assert target.left == []


def test_what_refers_to_nothing_that_is_there_is_passed_over(tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    signature = referrer(store, two)
    files = layout(files_of(store, one, signature), named(one, "app:1"), named(signature))

    target = Target().take(write(tmp_path, files, how="stream"))

    (note,) = target.said(Noted)
    assert f"refers to {two.digest}, which is not there" in note.text
    assert signature.digest not in target.digests


def test_without_referrers_only_images_come(tmp_path: Path) -> None:
    store, root = make_image(1)
    signature = referrer(store, root)
    files = layout(files_of(store, root, signature), named(root, "app:1"), named(signature))

    target = Target().take(write(tmp_path, files, how="file"), referrers=False)

    assert signature.digest not in target.digests
    assert referrers_of(target.store.info(root.digest).labels) == []


def test_what_the_archive_lacks_may_be_in_the_store(tmp_path: Path) -> None:
    store, root = make_image(1)
    files = files_of(store, root)
    layer = next(each for each in family(store, root) if "layer" in each.media_type)
    target = Target().take(write(tmp_path, layout(files, named(root, "app:1")), how="file"))
    del files[blob_path(layer.digest)]

    target.take(write(tmp_path, layout(files, named(root, "app:2")), how="stream"))

    assert len(target.names.digests) == 2
    assert target.errors == []


@pytest.mark.parametrize("how", ARCHIVES)
def test_all_images_of_docker_save_come(how: str, tmp_path: Path) -> None:
    (first, one), (second, two) = docker_files(1, "redis:7", "cache:7"), docker_files(2, "r.example/app:1")
    files = docker_archive({**first, **second}, one, two)

    target = Target().take(write(tmp_path, files, how=how))

    assert list(target.names.digests) == [
        "docker.io/library/redis:7",
        "docker.io/library/cache:7",
        "r.example/app:1",
    ]
    assert {Digest.of(data) for data in (*first.values(), *second.values())} < target.digests
    assert len(target.digests) == len(first) + len(second) + 2
    assert target.left == []


def test_docker_save_gives_the_same_image_as_file_and_as_stream(tmp_path: Path) -> None:
    found, entry = docker_files(1, "redis:7", layer="{n}.tar")

    made = [
        Target().take(write(tmp_path, docker_archive(found, entry), how=how)).names.digests
        for how in ARCHIVES
    ]

    assert made[0] == made[1]


@pytest.mark.parametrize("how", ARCHIVES)
def test_layers_of_docker_save_may_be_links_and_compressed(how: str, tmp_path: Path) -> None:
    found, entry = docker_files(1, "redis:7")
    first, second, third = entry["Layers"]
    members = [(name, data) for name, data in docker_archive(found, entry).items() if name != second]
    packed = gzip.compress(found[third])
    members = [(name, packed if name == third else data) for name, data in members]
    shared = ("shared/layer.tar", found[second])

    target = Target().take(
        write(tmp_path, [link(second, "../shared/layer.tar", tarfile.SYMTYPE), *members, shared], how=how)
    )

    assert target.errors == []
    assert {Digest.of(packed), Digest.of(found[first]), Digest.of(found[second])} < target.digests


@pytest.mark.parametrize("how", ARCHIVES)
def test_an_index_counts_before_the_single_platform_that_docker_reads(how: str, tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    root = index_of(store, (one, "amd64"), (two, "s390x"))
    config = family(store, one)[-1].digest
    layers = [blob_path(each.digest) for each in family(store, one)[:-1]]
    entry = {"Config": blob_path(config), "RepoTags": ["docker.io/library/app:1"], "Layers": layers}
    files = layout(files_of(store, root), named(root, "1", long="docker.io/library/app:1"))

    target = Target().take(write(tmp_path, docker_archive(files, entry), how=how))

    assert target.names.digests == {"docker.io/library/app:1": root.digest}


@pytest.mark.parametrize("how", ARCHIVES)
def test_docker_may_name_what_the_layout_does_not(how: str, tmp_path: Path) -> None:
    store, root = make_image(1)
    config = family(store, root)[-1].digest
    entry = {"Config": blob_path(config), "RepoTags": ["app:1"], "Layers": []}
    files = docker_archive(layout(files_of(store, root), named(root)), entry)

    target = Target().take(write(tmp_path, files, how=how))

    assert target.names.digests == {"docker.io/library/app:1": root.digest}


def test_without_a_listener_the_first_error_is_raised_in_the_end(tmp_path: Path) -> None:
    store, (one, two) = images(1, 2)
    files = layout(files_of(store, one, two), named(one, "a:1"), named(two, "b:1"))
    del files[blob_path(family(store, one)[0].digest)]
    target = Target()

    with pytest.raises(NotFound, match="is neither in it nor in the store"):
        for event in import_archive(
            str(write(tmp_path, files, how="file")), store=target.store, images=target.names
        ):
            target.events.append(event)

    assert list(target.names.digests) == ["docker.io/library/b:1"]
