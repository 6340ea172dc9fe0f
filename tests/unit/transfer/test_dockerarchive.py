"""Archives of docker save as origin and sink."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from tests.unit.transfer.ends_images import (
    contents,
    family,
    link,
    make_image,
    manifest_of,
    push_all,
    put,
    read,
    tar_of,
    write_tar,
)

from distore.errors import (
    DataLoss,
    DigestMismatch,
    DistoreError,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
)
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_CONFIG_SIZE
from distore.oci.reference import Reference
from distore.transfer.archive import OciArchiveSink
from distore.transfer.dockerarchive import DockerArchiveOrigin, DockerArchiveSink

if TYPE_CHECKING:
    from pathlib import Path

REDIS = Reference.parse("redis:7")
LAYER = tar_of({"file": b"content"})


def hex_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config_of(*layers: bytes) -> bytes:
    ids = [f"sha256:{hex_of(layer)}" for layer in layers]
    return json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ids}}).encode()


def manifest(*entries: tuple[str, list[str], list[str] | None]) -> tuple[str, bytes]:
    items = [{"Config": config, "Layers": layers, "RepoTags": tags} for config, layers, tags in entries]
    return "manifest.json", json.dumps(items).encode()


def origin(path: Path, name: str | None = None) -> DockerArchiveOrigin:
    return DockerArchiveOrigin(str(path), Reference.parse(name) if name else None)


def names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


@pytest.mark.parametrize("seed", range(3))
def test_an_image_goes_in_unpacked_and_comes_out_the_same_each_time(seed: int, tmp_path: Path) -> None:
    store, root = make_image(seed)
    with DockerArchiveSink(str(tmp_path / "a"), REDIS) as sink:
        push_all(store, root, sink)

    with origin(tmp_path / "a", "redis:7") as middle, DockerArchiveSink(str(tmp_path / "b"), REDIS) as again:
        push_all(middle, middle.resolve(), again)
        found = contents(middle)

    config = family(store, root)[-1]
    diff_ids = json.loads(read(store, config.digest))["rootfs"]["diff_ids"]
    assert found.keys() == {middle.resolve().digest, config.digest, *map(Digest, diff_ids)}
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_archive_is_what_docker_load_reads(tmp_path: Path) -> None:
    store, root = make_image(1, layers=2)

    with DockerArchiveSink(str(tmp_path / "a"), REDIS) as sink:
        said = push_all(store, root, sink)

    config = family(store, root)[-1]
    layers = [
        f"{text.removeprefix('sha256:')}.tar"
        for text in json.loads(read(store, config.digest))["rootfs"]["diff_ids"]
    ]
    assert said == ["pushed"] * 3
    assert names(tmp_path / "a") == [*layers, f"{config.digest.encoded}.json", "manifest.json"]
    with tarfile.open(tmp_path / "a") as tar:
        document = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]  # it is a file
    assert document == [
        {
            "Config": f"{config.digest.encoded}.json",
            "RepoTags": ["docker.io/library/redis:7"],
            "Layers": layers,
        }
    ]


def test_a_layer_that_comes_packed_in_two_ways_is_kept_once(tmp_path: Path) -> None:
    store, _ = make_image(1)
    layers = [
        put(store, LAYER, mediatypes.OCI_LAYER),
        put(store, gzip.compress(LAYER, mtime=0), mediatypes.DOCKER_LAYER_GZIP),
    ]
    config = put(store, config_of(LAYER, LAYER), mediatypes.DOCKER_CONFIG)
    root = put(store, manifest_of(config, layers), mediatypes.OCI_MANIFEST)

    with DockerArchiveSink(str(tmp_path / "a"), None) as sink:
        push_all(store, root, sink)

    assert len(names(tmp_path / "a")) == 3
    with origin(tmp_path / "a") as end:
        assert len(contents(end)) == 3
        assert [layer.digest for layer in family(end, end.resolve())][:2] == [Digest.of(LAYER)] * 2


def test_an_index_and_what_is_no_image_are_refused(tmp_path: Path) -> None:
    store, root = make_image(1)
    index = put(store, b'{"schemaVersion":2,"manifests":[]}', mediatypes.OCI_INDEX)
    other = put(store, b"text", "text/plain")

    with DockerArchiveSink(str(tmp_path / "a"), None) as sink:
        for call in (lambda: sink.exists(index), lambda: sink.push(index, store)):
            with pytest.raises(FailedPrecondition, match="--platform"):
                call()
        with pytest.raises(FailedPrecondition, match="images only"):
            sink.push(other, store)
        with pytest.raises(FailedPrecondition, match="come before it"):
            sink.tag(root, store)

    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_is_not_the_one_of_the_config_is_refused(tmp_path: Path) -> None:
    store, _ = make_image(1)
    layer = put(store, gzip.compress(LAYER), mediatypes.OCI_LAYER_GZIP)
    config = put(store, config_of(b"other"), mediatypes.OCI_CONFIG)
    root = put(store, manifest_of(config, [layer]), mediatypes.OCI_MANIFEST)
    few = put(store, manifest_of(config, []), mediatypes.OCI_MANIFEST)

    with DockerArchiveSink(str(tmp_path / "a"), None) as sink:
        with pytest.raises(DigestMismatch, match="unpacked"):
            push_all(store, root, sink)
        with pytest.raises(FailedPrecondition, match="0 layers, its config names 1"):
            sink.tag(few, store)

    assert list(tmp_path.iterdir()) == []


def test_a_layer_whose_gzip_is_damaged_leaves_no_trace(tmp_path: Path) -> None:
    store, root = make_image(1)
    bad = put(store, gzip.compress(LAYER)[:-9], mediatypes.OCI_LAYER_GZIP)

    with DockerArchiveSink(str(tmp_path / "a"), None) as sink:
        with pytest.raises(DataLoss, match="too early"):
            sink.push(bad, store)
        push_all(store, root, sink)

    with origin(tmp_path / "a") as end:
        assert len(contents(end)) == 5


def test_a_config_over_the_limit_is_refused(tmp_path: Path) -> None:
    store, _ = make_image(1)
    large = Descriptor(media_type=mediatypes.OCI_CONFIG, digest=Digest.of(b"x"), size=MAX_CONFIG_SIZE + 1)

    with DockerArchiveSink(str(tmp_path / "a"), None) as sink, pytest.raises(ResourceExhausted):
        sink.push(large, store)


# Origins


def save(path: Path, *extra: tuple[str, bytes] | tarfile.TarInfo, layer: bytes = LAYER) -> Path:
    """As an old docker save has it: a folder for each layer, links for those that are equal."""
    second = "b/layer.tar"
    return write_tar(
        path,
        [
            ("a/layer.tar", layer),
            link(second, "../a/layer.tar"),
            ("c.json", config_of(LAYER, LAYER)),
            manifest(("c.json", ["a/layer.tar", second], ["redis:7", "bad tag!"])),
            *extra,
        ],
    )


def test_links_between_layers_are_followed_within_the_archive(tmp_path: Path) -> None:
    with origin(save(tmp_path / "a"), "redis:7") as end:
        root = end.resolve()

        assert contents(end)[Digest.of(LAYER)] == LAYER
        assert root.media_type == mediatypes.OCI_MANIFEST
        assert [one.media_type for one in family(end, root)] == [
            mediatypes.OCI_LAYER,
            mediatypes.OCI_LAYER,
            mediatypes.OCI_CONFIG,
        ]


@pytest.mark.parametrize(
    "members",
    [
        [link("l", "/etc/passwd")],
        [link("l", "../../../../etc/passwd")],
        [link("l", "l")],
        [link("l", "m"), link("m", "l")],
        [link("l", "nothing")],
        [link("l", "/etc/passwd", tarfile.LNKTYPE)],
        [link("l", "", tarfile.DIRTYPE)],
        [link("l", "", tarfile.FIFOTYPE)],
        [],
    ],
)
def test_links_that_lead_out_in_circles_or_nowhere_are_refused(
    members: list[tarfile.TarInfo], tmp_path: Path
) -> None:
    path = write_tar(tmp_path / "a", [*members, ("c", config_of(LAYER)), manifest(("c", ["l"], None))])

    with origin(path) as end, pytest.raises(FailedPrecondition):
        end.resolve()


@pytest.mark.parametrize("name", ["/etc/passwd", "../../etc/passwd", "", "..", "x" * 5000])
def test_names_that_lead_out_are_not_in_the_archive(name: str, tmp_path: Path) -> None:
    for entry in ((name, []), ("c", [name])):
        path = write_tar(
            tmp_path / "a", [(name or "y", LAYER), ("c", config_of(LAYER)), manifest((*entry, None))]
        )
        with origin(path) as end, pytest.raises(FailedPrecondition, match="not in it"):
            end.resolve()


def test_a_layer_packed_inside_is_taken_as_it_is(tmp_path: Path) -> None:
    packed = gzip.compress(LAYER, mtime=0)
    path = write_tar(tmp_path / "a", [("l", packed), ("c", config_of(LAYER)), manifest(("c", ["l"], None))])

    with origin(path) as end:
        layer = family(end, end.resolve())[0]

        assert (layer.media_type, layer.digest) == (mediatypes.OCI_LAYER_GZIP, Digest.of(packed))


def test_a_damaged_layer_is_data_loss(tmp_path: Path) -> None:
    with (
        origin(save(tmp_path / "a", layer=LAYER[:-1] + b"x")) as end,
        pytest.raises(DataLoss, match="damaged"),
    ):
        end.resolve()


def test_an_image_is_chosen_by_any_spelling_of_its_name(tmp_path: Path) -> None:
    other = ("d", config_of())
    path = write_tar(
        tmp_path / "a",
        [
            ("l", LAYER),
            ("c", config_of(LAYER)),
            other,
            manifest(("c", ["l"], ["docker.io/library/redis:7"]), ("d", [], ["quay.io/x/y:1"])),
        ],
    )

    with origin(path, "redis:7") as one, origin(path, "quay.io/x/y:1") as two:
        assert len(contents(one)) == 3
        assert len(contents(two)) == 2
    with origin(path) as end, pytest.raises(FailedPrecondition, match="2 images; there are 'docker"):
        end.resolve()
    with origin(path, "redis:8") as end, pytest.raises(NotFound, match=r"'redis:8'; there are .*'quay"):
        end.resolve()


def test_the_layout_inside_is_preferred_and_manifest_json_is_what_is_left(tmp_path: Path) -> None:
    store, root = make_image(1)
    with OciArchiveSink(str(tmp_path / "oci"), "docker.io/library/redis:7") as sink:
        push_all(store, root, sink)
    with tarfile.open(tmp_path / "oci") as tar:
        inner = [(one.name, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]  # files

    with origin(save(tmp_path / "both", *inner), "redis:7") as end:
        assert end.resolve().digest == root.digest
        assert len(contents(end)) == 5
    rootless = [pair for pair in inner if root.digest.encoded not in pair[0]]
    with origin(save(tmp_path / "rootless", *rootless), "redis:7") as end:
        assert contents(end)[Digest.of(LAYER)] == LAYER
    with origin(tmp_path / "oci", "other") as end, pytest.raises(NotFound, match="redis:7"):
        end.resolve()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b"[1]",
        b"[{}]",
        b"[]",
        b'[{"Config":1,"Layers":[]}]',
        b'[{"Config":"c","Layers":{"a":1}}]',
        b'[{"Config":"c","Layers":[1]}]',
        b'[{"Config":"c","Layers":[],"RepoTags":[null]}]',
        b'[{"Config":"c","Layers":[]},{"Config":"c","Layers":[]}]',
        b'[{"Config":"c","Layers":["c"]}]',
        b'[{"Config":"bad","Layers":[]}]',
    ],
)
def test_a_bad_manifest_json_is_refused(data: bytes, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", [("manifest.json", data), ("c", config_of()), ("bad", b"[]")])

    with origin(path) as end, pytest.raises((FailedPrecondition, NotFound)) as caught:
        end.resolve()

    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_large_documents_are_refused(tmp_path: Path) -> None:
    many = write_tar(
        tmp_path / "many",
        [("l", LAYER), ("c", config_of(*[LAYER] * 40_000)), manifest(("c", ["l"] * 40_000, None))],
    )
    large = write_tar(tmp_path / "large", [("manifest.json", bytes(5_000_000))])
    config = write_tar(tmp_path / "config", [("c", bytes(MAX_CONFIG_SIZE + 1)), manifest(("c", [], None))])

    for path in (many, large, config):
        with origin(path) as end, pytest.raises(ResourceExhausted):
            end.resolve()


def test_an_archive_without_manifest_json_is_refused(tmp_path: Path) -> None:
    with (
        origin(write_tar(tmp_path / "a", [("repositories", b"{}")])) as end,
        pytest.raises(DistoreError, match=r"no manifest\.json"),
    ):
        end.resolve()
