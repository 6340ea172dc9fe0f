"""Image layouts as origin and sink."""

from __future__ import annotations

import json
import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.ends_images import contents, family, make_image, push_all, put, read

from distore.content.local.store import LocalStore
from distore.errors import (
    DigestMismatch,
    DistoreError,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    SizeMismatch,
)
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.remotes.refkey import ref_key
from distore.testing.faults import Crash, crash_before
from distore.transfer.layout import LayoutOrigin, LayoutSink
from distore.transfer.ociindex import CONTAINERD_NAME, MAX_INDEX_SIZE, REF_NAME, ImageIndex

if TYPE_CHECKING:
    from pathlib import Path

    from distore.content.store import Provider
    from distore.transfer.ends import Origin


def sink(root: Path, tag: str | None = "v1") -> LayoutSink:
    return LayoutSink(str(root), tag, store=LocalStore(str(root)))


def origin(root: Path, tag: str | None = None) -> LayoutOrigin:
    return LayoutOrigin(str(root), tag, store=LocalStore(str(root)))


def index_with(root: Path, *entries: object, **fields: object) -> None:
    document = {"schemaVersion": 2, "manifests": list(entries), **fields}
    (root / "index.json").write_text(json.dumps(document))


def entry(seed: int, **annotations: str) -> dict[str, object]:
    digest = Digest.of(str(seed).encode())
    found = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=1, annotations=annotations)
    return found.to_json()


def tag_one(root: str, number: int) -> None:
    """What each of several processes does."""
    store, image = make_image(number, layers=1)
    with LayoutSink(root, f"v{number}", store=LocalStore(root)) as pusher:
        push_all(store, image, pusher)


@pytest.mark.slow  # it waits for the device
@pytest.mark.parametrize("seed", range(3))
def test_an_image_comes_out_as_it_went_in(seed: int, tmp_path: Path) -> None:
    store, root = make_image(seed)
    with sink(tmp_path / "a") as first:
        push_all(store, root, first)
        assert first.push(root, store) == "present"

    with origin(tmp_path / "a", "v1") as middle, sink(tmp_path / "b", None) as second:
        push_all(middle, middle.resolve(), second)

    end: Origin = origin(tmp_path / "b")
    assert end.resolve().digest == root.digest
    assert contents(end) == {one.digest: read(store, one.digest) for one in [root, *family(store, root)]}


def test_a_layout_holds_nothing_but_what_the_specification_names(tmp_path: Path) -> None:
    store, root = make_image(1)

    with sink(tmp_path) as pusher:
        push_all(store, root, pusher)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "index.json", "oci-layout"]
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((tmp_path / "index.json").read_text()) == {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [{**root.to_json(), "annotations": {REF_NAME: "v1"}}],
    }


def test_a_name_moves_and_every_other_entry_stays_as_it_is(tmp_path: Path) -> None:
    others = [entry(1, **{REF_NAME: "other"}), {**entry(2), "of.another": {"tool": [1]}}]
    index_with(tmp_path, *others, entry(3, **{REF_NAME: "v1"}), field="kept")
    store, root = make_image(1)

    with sink(tmp_path) as pusher:
        push_all(store, root, pusher)

    document = json.loads((tmp_path / "index.json").read_text())
    assert document["field"] == "kept"
    assert document["manifests"][:2] == others
    assert [one["digest"] for one in document["manifests"][2:]] == [root.digest]


def test_an_image_without_a_name_is_listed_once(tmp_path: Path) -> None:
    store, root = make_image(1)

    for tag in (None, None, "v1", "v2", "v1"):
        with sink(tmp_path, tag) as pusher:
            push_all(store, root, pusher)

    document = json.loads((tmp_path / "index.json").read_text())
    assert [one["annotations"][REF_NAME] for one in document["manifests"]] == ["v2", "v1"]


@pytest.mark.slow
def test_processes_that_tag_at_once_lose_no_entry(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=tag_one, args=(str(tmp_path), number)) for number in range(4)]

    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 4
    index = ImageIndex.parse((tmp_path / "index.json").read_bytes(), subject="x")
    assert sorted(index.names()) == ["v0", "v1", "v2", "v3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "index.json", "oci-layout"]


@pytest.mark.slow
def test_a_crash_at_any_step_of_a_tag_leaves_the_old_index_or_the_new(tmp_path: Path) -> None:
    store, root = make_image(1, layers=1)
    number, ended = 0, False

    while not ended:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        index_with(folder, entry(1, **{REF_NAME: "old"}))
        try:
            with crash_before(number):
                push_all(store, root, sink(folder))
            ended = True
        except Crash:
            pass

        names = ImageIndex.parse((folder / "index.json").read_bytes(), subject="x").names()
        assert names in (["old"], ["old", "v1"])
        if "v1" in names:
            assert len(contents(origin(folder, "v1"))) == 3
        push_all(store, root, sink(folder))  # and the next one goes through
        assert len(contents(origin(folder, "v1"))) == 3

    assert number > 10


def test_kept_bytes_are_resumed(tmp_path: Path) -> None:
    store, root = make_image(1)
    layer = family(store, root)[0]
    data = read(store, layer.digest)
    with LocalStore(str(tmp_path)).writer(ref_key(layer.media_type, layer.digest)) as writer:
        writer.write(data[:100])
    told: list[int] = []
    read_from: list[int] = []

    class Watched:
        def reader(self, digest: Digest) -> object:
            reader = store.reader(digest)
            whole = reader.readinto_at

            def noted(buffer: bytearray, offset: int) -> int:
                read_from.append(offset)
                return whole(buffer, offset)

            reader.readinto_at = noted  # type: ignore[assignment,method-assign]  # only watched
            return reader

    provider: Provider = Watched()  # type: ignore[assignment]
    how = sink(tmp_path).push(layer, provider, on_progress=told.append)

    assert how == "pushed"
    assert read_from[0] == 100
    assert told[-1] == layer.size
    assert read(LocalStore(str(tmp_path)), layer.digest) == data


def test_kept_bytes_that_are_wrong_are_given_up_once(tmp_path: Path) -> None:
    store, root = make_image(1)
    layer = family(store, root)[0]
    with LocalStore(str(tmp_path)).writer(ref_key(layer.media_type, layer.digest)) as writer:
        writer.write(b"nonsense")

    how = sink(tmp_path).push(layer, store)

    assert how == "pushed"
    assert read(LocalStore(str(tmp_path)), layer.digest) == read(store, layer.digest)


def test_wrong_bytes_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    store, root = make_image(1)
    layer = family(store, root)[0]
    digest = Digest.of(b"others")
    wrong = Descriptor(media_type=layer.media_type, digest=digest, size=layer.size)

    class Liar:
        def reader(self, _digest: Digest) -> object:
            return store.reader(layer.digest)

    provider: Provider = Liar()  # type: ignore[assignment]
    with sink(tmp_path) as pusher, pytest.raises(DigestMismatch, match="other bytes"):
        pusher.push(wrong, provider)
    shorter = Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size - 1)
    with sink(tmp_path) as pusher, pytest.raises(SizeMismatch):
        pusher.push(shorter, store)

    assert list(LocalStore(str(tmp_path)).digests()) == []
    assert not (tmp_path / "ingest").exists()


def test_a_damaged_file_under_the_name_of_a_blob_is_replaced(tmp_path: Path) -> None:
    store, root = make_image(1)
    layer = family(store, root)[0]
    path = tmp_path / "blobs" / "sha256" / layer.digest.encoded
    path.parent.mkdir(parents=True)
    path.write_bytes(b"short")

    how = sink(tmp_path).push(layer, store)

    assert how == "pushed"
    assert path.read_bytes() == read(store, layer.digest)


def test_an_image_is_found_by_its_name_however_it_is_spelled(tmp_path: Path) -> None:
    index_with(
        tmp_path,
        entry(1, **{REF_NAME: "latest", CONTAINERD_NAME: "docker.io/library/redis:latest"}),
        entry(2, **{REF_NAME: "docker.io/library/nginx:1"}),
        entry(3, **{REF_NAME: "edge"}),
    )

    found = {name: origin(tmp_path, name).resolve() for name in ("latest", "redis", "nginx:1", "edge")}

    assert [one.digest for one in found.values()] == [entry(n)["digest"] for n in (1, 1, 2, 3)]
    for name in ("library/edge", "edge:edge", "nginx"):
        with pytest.raises(NotFound, match=r"there are 'docker\.io/library/redis:latest'"):
            origin(tmp_path, name).resolve()


def test_several_images_without_a_name_are_listed_but_not_all(tmp_path: Path) -> None:
    index_with(tmp_path, *(entry(n, **{REF_NAME: f"tag-{n}"}) for n in range(30)))

    with pytest.raises(FailedPrecondition) as caught:
        origin(tmp_path).resolve()

    assert "holds 30 images; name one of 'tag-0'" in str(caught.value)
    assert "'tag-19' and 10 more" in str(caught.value)


def test_two_names_of_the_only_image_are_no_question(tmp_path: Path) -> None:
    index_with(tmp_path, entry(1, **{REF_NAME: "a"}), entry(1, **{REF_NAME: "b"}))

    assert origin(tmp_path).resolve().digest == entry(1)["digest"]


def test_what_is_no_layout_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"index\.json is missing"):
        origin(tmp_path / "nowhere").resolve()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"schemaVersion":' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "schemaVersion"),
        (b'{"schemaVersion":2}', "manifests"),
        (b'{"schemaVersion":2,"manifests":[1]}', "manifests"),
        (b'{"schemaVersion":2,"manifests":[{}]}', "digest is missing"),
        (b'{"schemaVersion":2,"manifests":[{"digest":"sha256:../../etc/passwd"}]}', "hex characters"),
    ],
)
def test_a_bad_index_is_refused_and_stays_as_it_is(content: bytes, error: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_bytes(content)

    with pytest.raises(FailedPrecondition, match=error) as caught:
        origin(tmp_path).resolve()

    assert "\n" not in str(caught.value)
    store, root = make_image(1)
    if b"[{" not in content:
        with pytest.raises(FailedPrecondition):
            sink(tmp_path).tag(root, store)
        assert (tmp_path / "index.json").read_bytes() == content


def test_a_huge_index_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "index.json").open("wb") as file:
        file.truncate(MAX_INDEX_SIZE + 1)

    with pytest.raises(ResourceExhausted, match="the limit is"):
        origin(tmp_path).resolve()


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_an_index_that_is_no_regular_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/etc/passwd")

    with pytest.raises(DistoreError, match=r"index\.json"):
        origin(tmp_path).resolve()


def test_what_is_no_image_and_what_is_of_another_version_are_refused(tmp_path: Path) -> None:
    index_with(tmp_path, {**entry(1), "mediaType": "text/plain"})
    with pytest.raises(FailedPrecondition, match="not an image"):
        origin(tmp_path).resolve()

    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(FailedPrecondition, match=r"'2\.0\.0', want 1\.0\.0"):
        origin(tmp_path).resolve()


def test_an_index_goes_in_as_it_is_with_one_of_its_platforms_only(tmp_path: Path) -> None:
    store, image = make_image(1)
    absent = {**entry(5), "platform": {"architecture": "arm64", "os": "linux"}}
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [image.to_json(), absent]}
    root = put(store, json.dumps(document).encode(), mediatypes.OCI_INDEX)

    with sink(tmp_path) as pusher:
        push_all(store, image, pusher)
        pusher.tag(root, store)

    assert origin(tmp_path, "v1").resolve().digest == root.digest
