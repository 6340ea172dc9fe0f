"""OCI archives as origin and sink."""

from __future__ import annotations

import tarfile
import threading
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.ends_images import (
    archive,
    changed,
    contents,
    family,
    make_image,
    manifest_of,
    members,
    push_all,
    put,
    read,
    write_tar,
)

from distore.errors import (
    AlreadyExists,
    DigestMismatch,
    FailedPrecondition,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    SizeMismatch,
)
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.testing.faults import Crash, crash_before, record
from distore.transfer.archive import OciArchiveOrigin, OciArchiveSink, blob_name
from distore.transfer.ociindex import MAX_INDEX_SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from distore.content.store import Provider


def origin(path: Path, tag: str | None = None) -> OciArchiveOrigin:
    return OciArchiveOrigin(str(path), tag)


@pytest.mark.parametrize("seed", range(3))
def test_an_image_comes_out_as_it_went_in(seed: int, tmp_path: Path) -> None:
    archive(tmp_path / "a", seed)

    with origin(tmp_path / "a", "v1") as middle, OciArchiveSink(str(tmp_path / "b"), None) as sink:
        push_all(middle, middle.resolve(), sink)

    store, root = make_image(seed)
    with origin(tmp_path / "b") as end:
        assert end.resolve().digest == root.digest
        assert contents(end) == {one.digest: read(store, one.digest) for one in [root, *family(store, root)]}


def test_the_same_image_makes_the_same_bytes_in_the_order_of_the_pushes(tmp_path: Path) -> None:
    one, two = archive(tmp_path / "a"), archive(tmp_path / "b")

    assert one.read_bytes() == two.read_bytes()
    store, root = make_image(1)
    names = [blob_name(found.digest) for found in [*family(store, root), root]]
    with tarfile.open(one) as tar:
        assert tar.getnames() == [*names, "index.json", "oci-layout"]
        assert {(info.mtime, info.uid, info.uname, info.mode) for info in tar} == {(0, 0, "", 0o644)}


def test_long_digests_have_room_for_their_names(tmp_path: Path) -> None:
    store, _ = make_image(1)
    data = b"layer"
    digest = Digest.of(data, algorithm="sha512")
    with store.writer("x", expected=digest) as writer:
        writer.write(data)
        writer.commit(expected=digest)
    layer = Descriptor(media_type=mediatypes.OCI_LAYER, digest=digest, size=len(data))
    config = put(store, b"{}", mediatypes.OCI_CONFIG)
    root = put(store, manifest_of(config, [layer]), mediatypes.OCI_MANIFEST)

    with OciArchiveSink(str(tmp_path / "a"), None) as sink:
        push_all(store, root, sink)

    with origin(tmp_path / "a") as end:
        assert contents(end)[digest] == data
    assert blob_name(digest) in members(tmp_path / "a")


def test_without_a_tag_there_is_no_file(tmp_path: Path) -> None:
    store, root = make_image(1)

    with OciArchiveSink(str(tmp_path / "a"), None) as sink:
        for child in family(store, root):
            sink.push(child, store)
        assert [path.name for path in tmp_path.iterdir()] != []
    sink.close()

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FailedPrecondition, match="given up"):
        sink.push(root, store)


def test_the_name_comes_last_and_after_the_bytes(tmp_path: Path) -> None:
    store, root = make_image(1)

    with OciArchiveSink(str(tmp_path / "a"), None) as sink, record() as steps:
        push_all(store, root, sink)

    names = [step.name for step in steps if step.name != "write"]
    assert names == ["sync_file", "link", "unlink", "sync_directory"]


def test_a_crash_at_any_step_leaves_the_whole_archive_or_none(tmp_path: Path) -> None:
    store, root = make_image(1, layers=1)
    number, ended = 0, False

    while not ended:
        number += 1
        path = tmp_path / f"a{number}"
        try:
            with crash_before(number):
                push_all(store, root, OciArchiveSink(str(path), None))
            ended = True
        except Crash:
            pass

        if path.exists():
            with origin(path) as end:
                assert len(contents(end)) == 3

    assert number > 10


def test_a_file_that_is_there_is_replaced_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"precious")
    store, root = make_image(1)

    with pytest.raises(AlreadyExists, match="--force"):
        OciArchiveSink(str(path), None)
    assert path.read_bytes() == b"precious"
    with OciArchiveSink(str(path), None, overwrite=True) as sink:
        assert path.read_bytes() == b"precious"
        push_all(store, root, sink)

    assert origin(path).resolve().digest == root.digest
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    store, root = make_image(1)

    with OciArchiveSink(str(path), None) as sink:
        path.write_bytes(b"precious")
        with pytest.raises(AlreadyExists):
            push_all(store, root, sink)

    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_never_replaced_and_a_link_stays_one(tmp_path: Path) -> None:
    store, root = make_image(1)
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")

    with OciArchiveSink(str(tmp_path / "link"), None, overwrite=True) as sink:
        push_all(store, root, sink)

    assert (tmp_path / "link").is_symlink()
    assert origin(tmp_path / "real").resolve().digest == root.digest
    with pytest.raises(FailedPrecondition, match="not a regular file"):
        OciArchiveSink("/dev/null", None, overwrite=True)
    with pytest.raises(NotFound):
        OciArchiveSink(str(tmp_path / "no" / "folder"), None)


def test_a_push_that_fails_leaves_no_trace_in_the_archive(tmp_path: Path) -> None:
    store, root = make_image(1)
    layer = family(store, root)[0]
    other = Descriptor(media_type=layer.media_type, digest=Digest.of(b"other"), size=layer.size)

    class Liar:
        def reader(self, _digest: Digest) -> object:
            return store.reader(layer.digest)

    provider: Provider = Liar()  # type: ignore[assignment]
    longer = Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size + 1)
    with OciArchiveSink(str(tmp_path / "a"), "v1") as sink:
        with pytest.raises(DigestMismatch):
            sink.push(other, provider)
        with pytest.raises(SizeMismatch):
            sink.push(longer, store)
        assert not sink.exists(other)
        push_all(store, root, sink)

    assert (tmp_path / "a").read_bytes() == archive(tmp_path / "b").read_bytes()


def test_threads_may_share_a_sink(tmp_path: Path) -> None:
    store, root = make_image(1, layers=8)

    with OciArchiveSink(str(tmp_path / "a"), None) as sink:
        threads = [
            threading.Thread(target=sink.push, args=(child, store)) for child in family(store, root) * 2
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sink.tag(root, store)

    with origin(tmp_path / "a") as end:
        assert len(contents(end)) == 10


def test_the_index_is_read_with_distrust_as_in_a_folder(tmp_path: Path) -> None:
    huge = changed(tmp_path / "huge", ("index.json", bytes(MAX_INDEX_SIZE + 1)))
    broken = changed(tmp_path / "broken", ("index.json", b"["))
    newer = changed(tmp_path / "newer", ("oci-layout", b'{"imageLayoutVersion":"9"}'))

    for path, kind in ((huge, ResourceExhausted), (broken, FailedPrecondition), (newer, FailedPrecondition)):
        with origin(path) as end, pytest.raises(kind):
            end.resolve()


def test_an_archive_of_docker_save_says_how_to_read_it(tmp_path: Path) -> None:
    with (
        origin(write_tar(tmp_path / "a", [("manifest.json", b"[]")])) as end,
        pytest.raises(FailedPrecondition, match="docker-archive:"),
    ):
        end.resolve()


def test_a_reader_reads_any_stretch_and_outlives_the_archive(tmp_path: Path) -> None:
    end = origin(archive(tmp_path / "a"))
    root = end.resolve()
    whole = read(end, root.digest)

    reader = end.reader(root.digest)
    end.close()
    end.close()

    assert reader.read_at(7, 3) == whole[3:10]
    assert reader.read_at(100_000, 5) == whole[5:]
    assert reader.read_at(5, 100_000) == b""
    for length, offset in ((-1, 0), (1, -1)):
        with pytest.raises(OutOfRange):
            reader.read_at(length, offset)
    reader.close()
    reader.close()
    with pytest.raises(FailedPrecondition):
        reader.read_at(1, 0)
    with pytest.raises(FailedPrecondition):
        end.reader(root.digest)


def test_a_blob_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with origin(archive(tmp_path / "a")) as end, pytest.raises(NotFound, match="not in it"):
        end.reader(Digest.of(b"else"))
