"""Exports for docker load, into layouts, and of random graphs."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.ends_images import contents, manifest_of, tar_of
from tests.unit.transfer.export_images import (
    HOST,
    NAME,
    Altered,
    arch,
    artifact,
    attestation,
    blobs,
    files,
    gzipped,
    image,
    index,
    put,
    reachable,
    run,
)
from tests.unit.transfer.import_archives import Target

from distore.content.blobs import write_blob
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import DataLoss, DiskFull, FailedPrecondition, InvalidArgument, NotFound
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.reference import Reference
from distore.transfer.dockerarchive import DockerArchiveOrigin
from distore.transfer.exporter import ExportOptions, ExportStore, LayoutFolder, export
from distore.transfer.layout import LayoutOrigin
from distore.transfer.progress import Done, Event
from distore.transfer.tarout import TarStream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OTHER = "registry.example/team/other:2"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.tar"


def document(store: MemoryStore, root: Descriptor) -> dict[str, Any]:
    with store.reader(root.digest) as reader:
        return dict(json.loads(reader.read_at(reader.size, 0)))


def docker_entries(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(files(path.read_bytes())["manifest.json"]))


def test_docker_reads_the_same_file_of_an_index_the_usual_image(store: MemoryStore, out: Path) -> None:
    here, other = image(store, 1, platform=HOST), image(store, 2, platform=arch("arm64"))
    alone = image(store, 3, platform=arch("s390x"))
    root = index(store, [other, here])

    run(store, [(NAME, root), (OTHER, alone)], out)

    names = [entry["RepoTags"] for entry in docker_entries(out)]
    configs = [entry["Config"] for entry in docker_entries(out)]
    wanted = [document(store, each)["config"]["digest"] for each in (here, alone)]
    assert names == [[NAME], [OTHER]]
    assert configs == [f"blobs/sha256/{digest.removeprefix('sha256:')}" for digest in wanted]
    assert all(name in files(out.read_bytes()) for entry in docker_entries(out) for name in entry["Layers"])


def test_an_export_is_the_same_on_every_machine(store: MemoryStore, tmp_path: Path) -> None:
    usual, other = image(store, 1, platform=HOST), image(store, 2, platform=arch("arm64"))
    several, without = (
        index(store, [other, usual]),
        index(store, [other, image(store, 3, platform=arch("mips"))]),
    )
    named = [(NAME, several), (OTHER, without)]

    for host in (HOST, arch("mips")):
        run(store, named, tmp_path / host.architecture, host=host)

    assert (tmp_path / "amd64").read_bytes() == (tmp_path / "mips").read_bytes()
    wanted = [Digest(document(store, each)["config"]["digest"]) for each in (usual, other)]
    assert [entry["Config"] for entry in docker_entries(tmp_path / "mips")] == [
        f"blobs/sha256/{digest.encoded}" for digest in wanted
    ]


def test_layers_of_zstd_are_offered_to_docker(store: MemoryStore, out: Path) -> None:
    layer = put(store, b"zstd", mediatypes.OCI_LAYER_ZSTD)
    config = Descriptor.from_json(document(store, image(store, 1))["config"])
    root = put(store, manifest_of(config, [layer]), mediatypes.OCI_MANIFEST)

    run(store, [(NAME, root)], out)

    assert docker_entries(out)[0]["Layers"] == [f"blobs/sha256/{layer.digest.encoded}"]


def test_what_docker_cannot_load_is_not_offered_to_it(store: MemoryStore, out: Path) -> None:
    run(store, [(NAME, artifact(store, b"x"))], out)

    assert "manifest.json" not in files(out.read_bytes())


@pytest.mark.parametrize("docker", [False, True])
def test_images_of_sha512_go_by_their_long_names(store: MemoryStore, out: Path, docker: bool) -> None:
    def stored(data: bytes, kind: str) -> Descriptor:
        digest = Digest.of(data, algorithm="sha512")
        write_blob(store, "put", data, expected=digest)
        return Descriptor(media_type=kind, digest=digest, size=len(data))

    plain = tar_of({"file": b"x" * 100})
    layer = stored(gzipped(plain), mediatypes.OCI_LAYER_GZIP)
    ids = [str(Digest.of(plain, algorithm="sha512"))]
    text = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}
    config = stored(json.dumps(text).encode(), mediatypes.OCI_CONFIG)
    root = stored(manifest_of(config, [layer]), mediatypes.OCI_MANIFEST)

    run(store, [(NAME, root)], out, docker=docker)
    there = Target().take(str(out))

    assert there.errors == []
    if docker:
        assert f"{ids[0].removeprefix('sha512:')}.tar" in files(out.read_bytes())
    else:
        assert there.names.digests == {NAME: root.digest}
        assert there.digests == {root.digest, config.digest, layer.digest}


def test_a_docker_archive_holds_several_images_with_their_layers_unpacked(
    store: MemoryStore, out: Path
) -> None:
    one, two = image(store, 1, layers=3), image(store, 2)

    run(store, [(NAME, one), ("docker.io/library/again:1", one), (OTHER, two)], out, docker=True)

    assert next(iter(files(out.read_bytes()))) == "manifest.json"
    assert [entry["RepoTags"] for entry in docker_entries(out)] == [
        ["docker.io/library/again:1", NAME],
        [OTHER],
    ]
    for name, data in files(out.read_bytes()).items():
        if name.endswith(".tar"):
            assert hashlib.sha256(data).hexdigest() == name.removesuffix(".tar")
            tarfile.open(fileobj=io.BytesIO(data)).close()
    for name, root in ((NAME, one), (OTHER, two)):
        with DockerArchiveOrigin(str(out), Reference.parse(name)) as origin:
            found = contents(origin)
        assert Digest(document(store, root)["config"]["digest"]) in found


def test_a_docker_archive_is_the_same_in_a_stream(store: MemoryStore, out: Path) -> None:
    pairs = [(NAME, image(store, 1)), (OTHER, image(store, 2))]
    data = io.BytesIO()

    run(store, pairs, out, docker=True)
    list(
        export(
            store,
            list(reversed(pairs)),
            TarStream(data),
            options=ExportOptions(host=HOST, docker=True),
        )
    )

    assert data.getvalue() == out.read_bytes()


def test_layers_of_a_docker_archive_are_there_once_however_they_are_packed(
    store: MemoryStore, out: Path
) -> None:
    plain = tar_of({"file": b"content"})
    text = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [Digest.of(plain)] * 2}}
    config = put(store, json.dumps(text).encode(), mediatypes.OCI_CONFIG)
    layers = [
        put(store, plain, mediatypes.OCI_LAYER),
        put(store, gzipped(plain), mediatypes.OCI_LAYER_GZIP),
    ]
    root = put(store, manifest_of(config, layers), mediatypes.OCI_MANIFEST)

    run(store, [(NAME, root)], out, docker=True)

    name = f"{Digest.of(plain).encoded}.tar"
    assert docker_entries(out)[0]["Layers"] == [name, name]
    assert [each for each in files(out.read_bytes()) if each.endswith(".tar")] == [name]


def test_a_docker_archive_takes_this_machines_image_of_an_index_or_the_chosen_one(
    store: MemoryStore, out: Path
) -> None:
    here, other = image(store, 1, platform=HOST), image(store, 2, platform=arch("arm64"))
    root = index(store, [other, here, attestation(store, here)])

    run(store, [(NAME, root)], out, docker=True)
    run(store, [(NAME, root)], out.with_name("arm"), docker=True, platforms=(arch("arm64"),))

    for path, chosen in ((out, here), (out.with_name("arm"), other)):
        digest = Digest(document(store, chosen)["config"]["digest"])
        assert [entry["Config"] for entry in docker_entries(path)] == [f"{digest.encoded}.json"]


def test_a_layer_that_its_config_does_not_name_is_data_loss(store: MemoryStore, out: Path) -> None:
    config = Descriptor.from_json(document(store, image(store, 1, layers=1))["config"])
    layer = put(store, tar_of({"other": b""}), mediatypes.OCI_LAYER)
    root = put(store, manifest_of(config, [layer]), mediatypes.OCI_MANIFEST)

    with pytest.raises(DataLoss, match=f"layer {layer.digest} unpacks to"):
        run(store, [(NAME, root)], out, docker=True)

    assert list(out.parent.iterdir()) == []


def test_a_docker_archive_refuses_artifacts_and_too_few_layers(store: MemoryStore, out: Path) -> None:
    config = Descriptor.from_json(document(store, image(store, 1, layers=2))["config"])
    short = put(store, manifest_of(config, []), mediatypes.OCI_MANIFEST)

    with pytest.raises(FailedPrecondition, match="no image of one platform"):
        run(store, [(NAME, artifact(store, b"x"))], out, docker=True)
    with pytest.raises(FailedPrecondition, match="0 layers, its config names 2"):
        run(store, [(NAME, short)], out, docker=True)


def to_folder(
    store: ExportStore, images: Sequence[tuple[str | None, Descriptor]], folder: Path, **options: Any
) -> list[Event]:
    target = LayoutFolder(str(folder), store=LocalStore(str(folder)))
    return list(export(store, images, target, options=ExportOptions(**{"host": HOST, **options})))


def names_of(folder: Path) -> list[tuple[str, str | None]]:
    found = json.loads((folder / "index.json").read_text())["manifests"]
    return [
        (entry["digest"], entry.get("annotations", {}).get("org.opencontainers.image.ref.name"))
        for entry in found
    ]


def test_a_layout_gets_the_images_and_keeps_the_others(store: MemoryStore, tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    one, two, three = (image(store, seed) for seed in (1, 2, 3))
    to_folder(store, [(NAME, one), (OTHER, two)], folder)

    to_folder(store, [(NAME, three), ("registry.example/x:2", one), (None, two)], folder)

    assert names_of(folder) == [
        (two.digest, "2"),
        (two.digest, None),
        (three.digest, "1"),
        (one.digest, "registry.example/x:2"),
    ]
    for name, root in (("1", three), (NAME, three), ("2", two), ("registry.example/x:2", one)):
        with LayoutOrigin(str(folder), name, store=LocalStore(str(folder))) as origin:
            assert contents(origin).keys() == reachable(store, root)
    assert sorted(path.name for path in folder.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_what_a_layout_has_is_not_written_again(store: MemoryStore, tmp_path: Path) -> None:
    root = image(store, 1)
    to_folder(store, [(NAME, root)], tmp_path / "layout")

    events = to_folder(store, [(NAME, root)], tmp_path / "layout")

    assert {event.how for event in events if isinstance(event, Done)} == {"present"}
    assert names_of(tmp_path / "layout") == [(root.digest, "1")]


def test_a_damaged_blob_names_nothing_in_a_layout(store: MemoryStore, tmp_path: Path) -> None:
    root = image(store, 1)
    layer = Digest(document(store, root)["layers"][0]["digest"])

    with pytest.raises(DataLoss, match=f"content {layer}: damaged in the store; run dist fsck"):
        to_folder(Altered(store, layer), [(NAME, root)], tmp_path / "layout")

    assert not (tmp_path / "layout" / "index.json").exists()


def test_a_layout_that_has_no_room_is_refused(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStore, "free_space", lambda _self: 10)

    with pytest.raises(DiskFull, match="10 are free; nothing was written"):
        to_folder(store, [(NAME, image(store, 1))], tmp_path / "layout")

    assert not (tmp_path / "layout" / "index.json").exists()


def test_a_folder_holds_no_docker_archive(store: MemoryStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="not a docker archive"):
        to_folder(store, [(NAME, image(store, 1))], tmp_path / "layout", docker=True)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[MemoryStore, list[tuple[str | None, Descriptor]], set[Digest]]:
    """A store of images, indexes of them and referrers, some of which are not there; what an export of
    the indexes has."""
    store, wanted = MemoryStore(), set[Digest]()
    names = ("amd64", "arm64", "s390x", "riscv64")
    pairs: list[tuple[str | None, Descriptor]] = []
    for number in range(draw(st.integers(1, 3))):
        children = [
            image(store, draw(st.integers(0, 5)), layers=draw(st.integers(0, 2)), platform=arch(name))
            for name in names[: draw(st.integers(1, 4))]
        ]
        pairs.append((f"docker.io/library/app:{number}", index(store, children)))
        if draw(st.booleans()):
            artifact(store, bytes([number]), draw(st.sampled_from([pairs[-1][1], *children])))
    everything = sorted({info.digest for info in store.walk()} - {root.digest for _, root in pairs})
    for digest in draw(st.lists(st.sampled_from(everything), unique=True, max_size=4)):
        store.delete(digest)
    for _, root in pairs:
        wanted |= expected(store, root)
    return store, pairs, wanted


def expected(store: MemoryStore, root: Descriptor) -> set[Digest]:
    """What is reachable and present: an image counts when all of it is there."""
    found = {root.digest}
    for item in document(store, root).get("manifests", []):
        child = Descriptor.from_json(item)
        if whole(store, child):
            found |= reachable(store, child)
    for digest in list(found):
        for key, value in store.info(digest).labels.items():
            try:
                referrer = store.info(Digest(value))
            except NotFound:
                continue
            known = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=referrer.digest, size=referrer.size)
            if ".r." in key and whole(store, known):
                found |= reachable(store, known)
    return found


def whole(store: MemoryStore, root: Descriptor) -> bool:
    try:
        for digest in reachable(store, root):
            store.info(digest)
    except NotFound:
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(graph=graphs())
def test_what_is_reachable_and_present_is_what_is_exported_and_twice_it_is_the_same(
    graph: tuple[MemoryStore, list[tuple[str | None, Descriptor]], set[Digest]],
) -> None:
    store, pairs, wanted = graph
    options = ExportOptions(host=HOST)

    first, second = io.BytesIO(), io.BytesIO()
    try:
        list(export(store, pairs, TarStream(first), options=options))
    except NotFound as error:
        assert "none of its platforms" in str(error)
        assert first.getvalue() == b""
        return
    list(export(store, list(reversed(pairs)), TarStream(second), options=options))

    assert blobs(first.getvalue()) == wanted
    assert first.getvalue() == second.getvalue()
