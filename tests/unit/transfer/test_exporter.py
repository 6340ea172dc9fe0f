"""Exports into one archive: what goes along, in which order, and what is refused."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.transfer.ends_images import contents
from tests.unit.transfer.export_images import (
    HOST,
    NAME,
    Altered,
    arch,
    artifact,
    attestation,
    blobs,
    entries,
    files,
    image,
    index,
    reachable,
    run,
)

from distore.content.memory import MemoryStore
from distore.errors import AlreadyExists, DataLoss, DiskFull, FailedPrecondition, NotFound
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.transfer.archive import OciArchiveOrigin, blob_name
from distore.transfer.exporter import ExportOptions, ExportStore, export
from distore.transfer.progress import Done, Finished, Moved, Noted, Planned, Resolved
from distore.transfer.tarout import TarFile, TarStream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from distore.transfer.progress import Event

NAMED = "io.containerd.image.name"
REF = "org.opencontainers.image.ref.name"
OTHER = "registry.example/team/other:1"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.tar"


def stream(
    store: ExportStore, images: Sequence[tuple[str | None, Descriptor]], **options: Any
) -> tuple[bytes, list[Event]]:
    data = io.BytesIO()
    events = list(export(store, images, TarStream(data), options=ExportOptions(**{"host": HOST, **options})))
    return data.getvalue(), events


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]


def test_what_names_the_images_is_first_then_documents_then_blobs_each_in_order(
    store: MemoryStore, out: Path
) -> None:
    one, two = image(store, 1), image(store, 2)

    run(store, [(OTHER, two), (NAME, one)], out)

    names = list(files(out.read_bytes()))
    documents = sorted(blob_name(each.digest) for each in (one, two))
    rest = {blob_name(digest) for root in (one, two) for digest in reachable(store, root)} - set(documents)
    assert names == ["oci-layout", "index.json", "manifest.json", *documents, *sorted(rest)]
    with tarfile.open(out) as tar:
        assert {(info.mtime, info.uid, info.gid, info.uname, info.mode) for info in tar} == {
            (0, 0, 0, "", 0o644)
        }


def test_an_image_comes_out_as_it_went_in(store: MemoryStore, out: Path) -> None:
    root = image(store, 1, layers=4)

    run(store, [(NAME, root)], out)

    for name in (None, "1", NAME, "app:1"):
        with OciArchiveOrigin(str(out), name) as origin:
            assert contents(origin).keys() == reachable(store, root)


def test_the_same_images_are_the_same_bytes_whatever_their_order_and_wherever_they_go(
    store: MemoryStore, out: Path
) -> None:
    pairs: list[tuple[str | None, Descriptor]] = [
        (name, image(store, seed)) for seed, name in ((1, NAME), (2, OTHER), (3, None))
    ]

    run(store, pairs, out)
    data, _ = stream(store, [*reversed(pairs), pairs[0]])

    assert data == out.read_bytes()


def test_every_name_has_an_entry_and_every_blob_is_there_once(store: MemoryStore) -> None:
    root = image(store, 1)

    data, _ = stream(store, [(NAME, root), (OTHER.replace(":1", ":2"), root)])

    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    assert [entry["annotations"] for entry in entries(data)] == [
        {NAMED: NAME, REF: "1"},
        {NAMED: "registry.example/team/other:2", REF: "2"},
    ]
    assert json.loads(files(data)["manifest.json"])[0]["RepoTags"] == [NAME, "registry.example/team/other:2"]


def test_two_images_with_one_tag_are_called_by_their_whole_names(store: MemoryStore) -> None:
    data, _ = stream(store, [(NAME, image(store, 1)), (OTHER, image(store, 2))])

    assert [entry["annotations"][REF] for entry in entries(data)] == [NAME, OTHER]


def test_a_name_with_a_digest_has_no_tag_and_no_name_is_no_annotation(store: MemoryStore) -> None:
    root = image(store, 1)
    by_digest = f"docker.io/library/app@{root.digest}"

    data, _ = stream(store, [(None, root), (by_digest, root)])

    assert [entry.get("annotations") for entry in entries(data)] == [
        None,
        {NAMED: by_digest, REF: by_digest},
    ]
    assert json.loads(files(data)["manifest.json"])[0]["RepoTags"] is None


def test_where_an_image_came_from_leaves_no_trace(store: MemoryStore) -> None:
    root = image(store, 1, platform=HOST)
    marked = Descriptor(
        media_type=root.media_type, digest=root.digest, size=root.size, annotations={"from": "somewhere"}
    )

    assert stream(store, [(NAME, root)])[0] == stream(store, [(NAME, marked)])[0]


def test_what_happens_is_told(store: MemoryStore, out: Path) -> None:
    root = image(store, 1)

    events = run(store, [(NAME, root)], out)

    head = files(out.read_bytes())["index.json"]
    sizes = {digest: store.info(digest).size for digest in reachable(store, root)}
    first, plan, last = events[0], events[1], events[-1]
    assert first == Resolved(
        name=NAME, descriptor=Descriptor(media_type=root.media_type, digest=root.digest, size=root.size)
    )
    assert isinstance(plan, Planned)
    assert (plan.blobs, plan.missing) == (len(sizes), sum(sizes.values()))
    assert {event.digest: event.size for event in events if isinstance(event, Done)} == sizes
    assert isinstance(last, Finished)
    assert (last.name, last.moved) == (str(out), sum(sizes.values()))
    assert (last.descriptor.digest, last.descriptor.size) == (Digest.of(head), len(head))


def test_an_index_goes_with_what_is_there_and_the_rest_is_told(store: MemoryStore, out: Path) -> None:
    here, gone = image(store, 1, platform=HOST), image(store, 2, platform=arch("arm64"))
    root = index(store, [here, gone, attestation(MemoryStore(), gone)])
    store.delete(gone.digest)

    events = run(store, [(NAME, root)], out)

    assert blobs(out.read_bytes()) == {root.digest} | reachable(store, here)
    assert [entry["digest"] for entry in entries(out.read_bytes())] == [root.digest]
    assert notes(events) == [f"image {NAME}: 'linux/arm64' is not in the store and left out"]


def test_a_platform_of_which_a_layer_is_missing_is_left_out_whole(store: MemoryStore, out: Path) -> None:
    here, broken = image(store, 1, platform=HOST), image(store, 2, platform=arch("arm64"))
    root = index(store, [here, broken])
    layer = json.loads(store.reader(broken.digest).read_at(9999, 0))["layers"][0]["digest"]
    store.delete(Digest(layer))

    events = run(store, [(NAME, root)], out)

    assert blobs(out.read_bytes()) == {root.digest} | reachable(store, here)
    assert "linux/arm64" in notes(events)[0]


@pytest.mark.parametrize("what", ["manifest", "layer"])
def test_with_everything_required_a_missing_platform_is_named_with_the_command_that_brings_it(
    store: MemoryStore, out: Path, what: str
) -> None:
    here, gone = image(store, 1, platform=HOST), image(store, 2, platform=arch("arm64"))
    root = index(store, [here, gone])
    layer = Digest(json.loads(store.reader(gone.digest).read_at(9999, 0))["layers"][0]["digest"])
    store.delete(gone.digest if what == "manifest" else layer)

    with pytest.raises(NotFound) as caught:
        run(store, [(NAME, root)], out, require_all=True)

    assert str(caught.value) == (
        f"image {NAME}: linux/arm64 is not in the store; dist pull --platform linux/arm64 {NAME} brings it"
    )
    assert not out.exists()


def test_an_index_without_any_of_its_images_is_not_found(store: MemoryStore, out: Path) -> None:
    other = MemoryStore()
    root = index(store, [image(other, 1, platform=HOST), image(other, 2, platform=arch("arm64"))])

    with pytest.raises(NotFound, match="none of its platforms is in the store; dist pull"):
        run(store, [(NAME, root)], out)

    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("what", ["manifest", "config", "layer"])
def test_an_image_that_is_not_whole_is_not_found_and_what_is_missing_named(
    store: MemoryStore, out: Path, what: str
) -> None:
    root = image(store, 1)
    document = json.loads(store.reader(root.digest).read_at(9999, 0))
    missing = {
        "manifest": root.digest,
        "config": Digest(document["config"]["digest"]),
        "layer": Digest(document["layers"][1]["digest"]),
    }[what]
    store.delete(missing)

    with pytest.raises(NotFound) as caught:
        run(store, [(NAME, root)], out)

    assert str(caught.value).startswith(f"image {NAME}: {missing} is not in the store; dist pull {NAME}")
    assert list(out.parent.iterdir()) == []


def test_one_platform_goes_as_its_manifest_with_what_the_index_says_about_it(
    store: MemoryStore, out: Path
) -> None:
    one, two = image(store, 1, platform=HOST), image(store, 2, platform=arch("arm64"))
    about, other = attestation(store, two), attestation(store, one)
    root = index(store, [one, two, other, about])

    run(store, [(NAME, root)], out, platforms=(arch("arm64"),))

    first, second = entries(out.read_bytes())
    assert (first["digest"], second["digest"]) == (two.digest, about.digest)
    assert second["annotations"] == about.annotations
    assert blobs(out.read_bytes()) == reachable(store, two) | reachable(store, about)


def test_several_platforms_go_with_the_index_and_nothing_else(store: MemoryStore, out: Path) -> None:
    found = [image(store, seed, platform=arch(name)) for seed, name in enumerate(("amd64", "arm64", "s390x"))]
    about = [attestation(store, each) for each in found]
    root = index(store, [*found, *about])

    run(store, [(NAME, root)], out, platforms=(arch("arm64"), arch("s390x")))

    parts = [*found[1:], *about[1:]]
    assert [entry["digest"] for entry in entries(out.read_bytes())] == [root.digest]
    assert blobs(out.read_bytes()) == {root.digest}.union(*(reachable(store, part) for part in parts))


def test_a_chosen_platform_that_is_not_there_is_not_found(store: MemoryStore, out: Path) -> None:
    gone = image(MemoryStore(), 2, platform=arch("arm64"))
    root = index(store, [image(store, 1, platform=HOST), gone])

    with pytest.raises(NotFound, match=r"linux/arm64 is not in the store; dist pull --platform linux/arm64"):
        run(store, [(NAME, root)], out, platforms=(arch("arm64"),))
    with pytest.raises(NotFound, match="has nothing for linux/ppc64le; it has linux/amd64, linux/arm64"):
        run(store, [(NAME, root)], out, platforms=(arch("ppc64le"),))


def test_what_refers_to_an_image_goes_along_with_what_refers_to_that(store: MemoryStore, out: Path) -> None:
    root = image(store, 1)
    first = artifact(store, b"signature", root)
    second = artifact(store, b"of the signature", first)

    run(store, [(NAME, root)], out)

    named, *extra = entries(out.read_bytes())
    assert named["digest"] == root.digest
    assert [entry["digest"] for entry in extra] == sorted([first.digest, second.digest])
    assert {entry["artifactType"] for entry in extra} == {"application/example"}
    assert all("annotations" not in entry for entry in extra)
    assert blobs(out.read_bytes()) == {
        digest for each in (root, first, second) for digest in reachable(store, each)
    }


def test_referrers_stay_where_nobody_wants_them(store: MemoryStore, out: Path) -> None:
    root = image(store, 1)
    artifact(store, b"signature", root)

    run(store, [(NAME, root)], out, referrers=False)

    assert blobs(out.read_bytes()) == reachable(store, root)


def test_a_referrer_that_is_not_whole_stays_out_and_is_told(store: MemoryStore, out: Path) -> None:
    root = image(store, 1)
    referrer = artifact(store, b"signature", root)
    store.delete(Digest.of(b"signature"))

    events = run(store, [(NAME, root)], out)

    assert len(entries(out.read_bytes())) == 1
    assert notes(events) == [
        f"referrer {referrer.digest} of {root.digest} is not all in the store and stays out"
    ]


def test_blobs_of_the_far_side_are_left_out_and_documents_go(store: MemoryStore, out: Path) -> None:
    root = image(store, 1, layers=3)
    layers = json.loads(store.reader(root.digest).read_at(9999, 0))["layers"]
    there = {Digest(layers[0]["digest"]), Digest(layers[1]["digest"])}
    store.delete(Digest(layers[1]["digest"]))  # it need not be here, then

    events = run(store, [(NAME, root)], out, exclude=there | {root.digest})

    assert blobs(out.read_bytes()) == {each for each in reachable(store, root) if each not in there}
    size = layers[0]["size"] + layers[1]["size"]
    assert notes(events) == [f"left out 2 blobs, {size} bytes, which the inventory has"]
    assert "manifest.json" not in files(out.read_bytes())


def test_layers_that_only_their_own_addresses_have_are_passed_over(store: MemoryStore, out: Path) -> None:
    plain = image(store, 1)
    document = json.loads(store.reader(plain.digest).read_at(9999, 0))
    foreign = {
        "mediaType": mediatypes.DOCKER_LAYER_FOREIGN,
        "digest": Digest.of(b"foreign"),
        "size": 7,
        "urls": ["https://elsewhere.example/layer"],
    }
    document["layers"].append(foreign)
    data = json.dumps(document).encode()
    with store.writer("x") as writer:
        writer.write(data)
        digest = writer.commit()
    root = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(data))

    events = run(store, [(NAME, root)], out)

    assert Digest.of(b"foreign") not in blobs(out.read_bytes())
    assert "only to be had from its own addresses" in notes(events)[0]
    assert "manifest.json" not in files(out.read_bytes())


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_damage_is_data_loss_and_leaves_no_file(store: MemoryStore, out: Path, part: str) -> None:
    root = image(store, 1)
    document = json.loads(store.reader(root.digest).read_at(9999, 0))
    digest = {"config": document["config"]["digest"], "layer": document["layers"][0]["digest"]}.get(part)
    damaged = Altered(store, Digest(digest) if digest else root.digest)

    with pytest.raises(DataLoss, match=r"damaged in the store; run dist fsck"):
        run(damaged, [(NAME, root)], out)

    assert list(out.parent.iterdir()) == []


def test_large_blobs_are_verified_too(store: MemoryStore, out: Path) -> None:
    data = os.urandom(5 * 1024 * 1024 + 17)
    with store.writer("big") as writer:
        writer.write(data)
        digest = writer.commit()
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": mediatypes.OCI_EMPTY, "digest": digest, "size": len(data)},
        "layers": [],
    }
    with store.writer("doc") as writer:
        writer.write(json.dumps(document).encode())
        named = writer.commit()
    root = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=named, size=len(json.dumps(document)))

    run(store, [(NAME, root)], out)
    with pytest.raises(DataLoss):
        run(Altered(store, digest), [(NAME, root)], out.with_name("other"))

    assert files(out.read_bytes())[blob_name(digest)] == data
    assert not out.with_name("other").exists()


def test_a_blob_of_another_size_is_found_before_the_first_byte(store: MemoryStore) -> None:
    layer = Descriptor(media_type=mediatypes.OCI_LAYER, digest=Digest.of(b"layer"), size=6)
    with store.writer("layer") as writer:
        writer.write(b"layer")
        writer.commit()
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": layer.to_json(),
        "layers": [layer.to_json()],
    }
    with store.writer("doc") as writer:
        writer.write(json.dumps(document).encode())
        digest = writer.commit()
    root = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(json.dumps(document)))
    data = io.BytesIO()

    with pytest.raises(DataLoss, match="has 5 bytes in the store, 6 were promised"):
        list(export(store, [(NAME, root)], TarStream(data), options=ExportOptions(host=HOST)))

    assert data.getvalue() == b""


def test_what_does_not_fit_is_refused_before_the_first_byte(
    store: MemoryStore, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image(store, 1)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096, f_blocks=9))

    with pytest.raises(DiskFull, match=r"bytes are needed and 4096 are free; nothing was written"):
        run(store, [(NAME, root)], out)

    assert list(out.parent.iterdir()) == []


def test_a_file_that_is_there_is_replaced_by_order_alone(store: MemoryStore, out: Path) -> None:
    root = image(store, 1)
    out.write_text("precious")

    with pytest.raises(AlreadyExists, match="--force"):
        run(store, [(NAME, root)], out)
    kept = out.read_text()
    run(store, [(NAME, root)], out, overwrite=True)

    assert kept == "precious"
    assert blobs(out.read_bytes()) == reachable(store, root)


def test_an_export_that_is_given_up_leaves_no_file(store: MemoryStore, out: Path) -> None:
    events = export(store, [(NAME, image(store, 1))], TarFile(str(out)), options=ExportOptions(host=HOST))
    while not isinstance(next(events), Done):
        continue

    events.close()

    assert list(out.parent.iterdir()) == []


class Broken(io.BytesIO):
    """A stream that takes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, data: Any, /) -> int:
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EPIPE, BrokenPipeError)])
def test_a_stream_that_takes_nothing_says_why(
    store: MemoryStore, number: int, error: type[Exception]
) -> None:
    root = image(store, 1)

    with pytest.raises(error):
        list(export(store, [(NAME, root)], TarStream(Broken(number)), options=ExportOptions(host=HOST)))


def test_a_slow_export_tells_how_far_it_is(store: MemoryStore, out: Path) -> None:
    data = bytes(3 * 1024 * 1024)
    with store.writer("big") as writer:
        writer.write(data)
        digest = writer.commit()
    big = Descriptor(media_type=mediatypes.OCI_EMPTY, digest=digest, size=len(data))
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "config": big.to_json()}
    with store.writer("doc") as writer:
        writer.write(json.dumps(document).encode())
        named = writer.commit()
    root = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=named, size=len(json.dumps(document)))
    ticks = iter(range(1000))

    events = list(
        export(
            store,
            [(NAME, root)],
            TarFile(str(out)),
            options=ExportOptions(host=HOST),
            clock=lambda: float(next(ticks)),
        )
    )

    told = [event.offset for event in events if isinstance(event, Moved) and event.digest == digest]
    assert told == [1024 * 1024, 2 * 1024 * 1024, 3 * 1024 * 1024]


def test_what_is_no_image_is_refused(store: MemoryStore, out: Path) -> None:
    with store.writer("x") as writer:
        writer.write(b"layer")
        digest = writer.commit()
    layer = Descriptor(media_type=mediatypes.OCI_LAYER, digest=digest, size=5)

    with pytest.raises(FailedPrecondition, match="neither a manifest nor an index"):
        run(store, [(NAME, layer)], out)
