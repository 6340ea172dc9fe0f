"""Converting images: compression, media types, platforms."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.convert_images import Library, Names, kinds, layer_kinds
from tests.unit.transfer.ends_images import put, read

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.diff.compression import Decompressed
from distore.errors import Cancelled, DataLoss, InvalidArgument, NotFound, ResourceExhausted
from distore.images.gclabels import gc_labels
from distore.images.select import Selection
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import parse_manifest
from distore.oci.platform import Platform
from distore.transfer.convert import convert
from distore.transfer.convertplan import ConvertOptions
from distore.transfer.pace import Stop
from distore.transfer.progress import Done, Noted, Planned, Started

OCI, DOCKER = "oci", "docker"


@pytest.fixture
def library() -> Library:
    return Library()


def plain(library: Library, digest: Digest) -> bytes:
    source = Decompressed(io.BytesIO(read(library.store, digest)), subject="layer")
    space = memoryview(bytearray(1 << 20))
    return b"".join(iter(lambda: bytes(space[: source.readinto(space)]), b""))


def diff_ids(library: Library, root: Descriptor) -> list[Digest]:
    return [Digest.of(plain(library, Digest(layer["digest"]))) for layer in library.document(root)["layers"]]


def only(*platforms: str) -> Selection:
    return Selection(platforms=tuple(map(Platform.parse, platforms)), attestations=True)


@pytest.mark.parametrize(
    ("compression", "kind"),
    [
        ("gzip", mediatypes.OCI_LAYER_GZIP),
        ("zstd", mediatypes.OCI_LAYER_ZSTD),
        ("uncompressed", mediatypes.OCI_LAYER),
    ],
)
def test_every_layer_gets_the_compression_and_keeps_its_diff_id(
    library: Library, compression: str, kind: str
) -> None:
    layers = [library.layer(), library.layer(packed=False), library.layer()]
    root = library.image(*layers)

    new = library.convert(root, compression=compression)

    assert layer_kinds(library.document(new)) == [kind] * 3
    assert diff_ids(library, new) == [diff_id for _, diff_id in layers]
    assert library.document(new)["config"] == library.document(root)["config"]


def test_the_result_is_named_last_and_labelled_on_a_store_of_files(store: LocalStore) -> None:
    library, names = Library(store), Names()
    root = library.image(library.layer(), library.layer(packed=False))

    new = library.convert(root, compression="zstd", images=names)

    parsed = parse_manifest(read(store, new.digest), media_type=new.media_type, subject="new")
    assert names.names == {"new:1": new}
    assert dict(store.info(new.digest).labels) == gc_labels(parsed)
    assert list(store.statuses()) == []


def test_layers_that_are_right_stay_byte_for_byte(library: Library) -> None:
    packed, bare = library.layer(), library.layer(packed=False)
    root = library.image(packed, bare)

    new = library.convert(root, compression="gzip")

    first, second = library.document(new)["layers"]
    assert first == packed[0].to_json()
    assert gzip.decompress(read(library.store, Digest(second["digest"]))) == read(
        library.store, bare[0].digest
    )


@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip"}, {"media_types": OCI}, {"selection": only("linux/amd64")}]
)
def test_with_nothing_to_change_the_digest_stays(library: Library, options: dict[str, Any]) -> None:
    image = library.image(library.layer())
    root = library.index(image, library.attestation(image))

    assert library.convert(root, **options) == root
    assert library.convert(image, **options) == image


@pytest.mark.parametrize(
    "options", [{"compression": "zstd"}, {"compression": "uncompressed"}, {"media_types": DOCKER}]
)
def test_what_was_converted_stays_when_it_is_converted_again(
    library: Library, options: dict[str, Any]
) -> None:
    image = library.image(library.layer(), library.layer())
    root = library.index(image, library.attestation(image))

    once = library.convert(root, **options)

    assert once.digest != root.digest
    assert library.convert(once, **options).digest == once.digest
    assert library.convert(root, **options).digest == once.digest


def test_force_compresses_again(library: Library) -> None:
    root = library.image(library.layer())

    weak = library.convert(root, compression="gzip", level=1, force=True)
    strong = library.convert(root, compression="gzip", level=9, force=True)
    same = library.convert(strong, force=True)

    assert len({root.digest, weak.digest, strong.digest}) == 3
    assert diff_ids(library, strong) == diff_ids(library, root) == diff_ids(library, same)


@settings(max_examples=25, deadline=None)
@given(
    packed=st.lists(st.booleans(), min_size=1, max_size=3),
    steps=st.lists(
        st.sampled_from(
            [
                {"compression": "gzip"},
                {"compression": "uncompressed"},
                {"compression": "zstd", "media_types": OCI},
                {"compression": "gzip", "media_types": DOCKER},
                {"media_types": OCI},
            ]
        ),
        max_size=4,
    ),
)
def test_no_way_round_changes_what_an_image_is(packed: list[bool], steps: list[dict[str, Any]]) -> None:
    library = Library()
    layers = [library.layer(packed=one) for one in packed]
    first = library.convert(library.image(*layers), compression="uncompressed")

    at = first
    for step in steps:
        at = library.convert(at, **step)
    back = library.convert(at, compression="uncompressed", media_types=OCI)

    assert diff_ids(library, at) == [diff_id for _, diff_id in layers]
    assert library.document(back) == library.document(first)


def test_docker_becomes_oci_and_back_without_touching_a_layer(library: Library) -> None:
    layers = [library.layer(DOCKER), library.layer(DOCKER, packed=False)]
    root = library.image(*layers, flavour=DOCKER)

    oci = library.convert(root, media_types=OCI)
    docker = library.convert(oci, media_types=DOCKER)

    assert kinds(library.document(oci)) == [
        mediatypes.OCI_MANIFEST,
        mediatypes.OCI_CONFIG,
        mediatypes.OCI_LAYER_GZIP,
        mediatypes.OCI_LAYER,
    ]
    assert kinds(library.document(docker)) == kinds(library.document(root))
    assert library.document(docker) == library.document(root)
    assert oci.media_type == mediatypes.OCI_MANIFEST
    assert library.finished(root, media_types=OCI).moved == 0


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"media_types": DOCKER}])
def test_docker_has_no_zstd(library: Library, options: dict[str, Any]) -> None:
    zstd = library.convert(library.image(library.layer()), compression="zstd")
    root = zstd if "media_types" in options else library.image(library.layer(DOCKER), flavour=DOCKER)
    names = Names()

    with pytest.raises(InvalidArgument, match="docker's media types have no"):
        library.convert(root, images=names, **options)

    assert names.names == {}


def test_docker_to_oci_with_zstd_goes_in_one_step(library: Library) -> None:
    image = library.image(library.layer(DOCKER), flavour=DOCKER)
    root = library.index(image, flavour=DOCKER)

    new = library.convert(root, compression="zstd", media_types=OCI)

    child = library.document(new)["manifests"][0]
    assert (new.media_type, child["mediaType"]) == (mediatypes.OCI_INDEX, mediatypes.OCI_MANIFEST)
    assert layer_kinds(library.document(Digest(child["digest"]))) == [mediatypes.OCI_LAYER_ZSTD]


def test_layers_of_unknown_kinds_stay_and_docker_refuses_them(library: Library) -> None:
    odd = put(library.store, b"odd", "application/vnd.example.layer")
    root = library.image(library.layer(), (odd, odd.digest))

    new = library.convert(root, compression="zstd")

    assert library.document(new)["layers"][1] == odd.to_json()
    with pytest.raises(InvalidArgument, match=r"have none for application/vnd\.example\.layer"):
        library.convert(root, media_types=DOCKER)


def test_foreign_layers_stay_where_they_are(library: Library) -> None:
    away = Descriptor(
        media_type=mediatypes.DOCKER_LAYER_FOREIGN + ".gzip",
        digest=Digest.of(b"windows"),
        size=7,
        urls=("https://example.com/base",),
    )
    root = library.image((away, Digest.of(b"plain")), library.layer(DOCKER), flavour=DOCKER)

    new = library.convert(root, compression="zstd", media_types=OCI)

    kind = mediatypes.OCI_LAYER_NONDISTRIBUTABLE + "+gzip"
    assert library.document(new)["layers"][0] == {**away.to_json(), "mediaType": kind}


def test_a_layer_met_twice_is_converted_once(library: Library) -> None:
    layer = library.layer()
    root = library.index(library.image(layer, layer), library.image(layer, arch="arm64"))

    events = library.events(root, compression="zstd")

    assert len([event for event in events if isinstance(event, Started)]) == 1
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert (planned.missing_blobs, planned.missing) == (1, layer[0].size)


def test_plain_layers_that_are_there_are_not_written_again(library: Library) -> None:
    root = library.image(library.layer())
    library.convert(root, compression="uncompressed")

    events = library.events(root, compression="uncompressed")

    assert [event.how for event in events if isinstance(event, Done)] == ["present", "converted"]


def test_annotations_and_unknown_fields_stay_and_notes_about_old_bytes_go(library: Library) -> None:
    layer, diff_id = library.layer()
    noted = replace(
        layer,
        annotations={"mine": "1", "io.github.containers.zstd-chunked.manifest-checksum": "x"},
        data=read(library.store, layer.digest),
        urls=("https://example.com/layer",),
    )
    image = library.image((noted, diff_id), annotations={"a": "b"}, future={"x": [1]})
    root = library.index(replace(image, annotations={"c": "d"}), annotations={"e": "f"}, later=2)

    new = library.document(library.convert(root, compression="zstd"))

    (child,) = new["manifests"]
    manifest = library.document(Digest(child["digest"]))
    assert (new["annotations"], new["later"]) == ({"e": "f"}, 2)
    assert (child["annotations"], child["platform"]) == ({"c": "d"}, {"architecture": "amd64", "os": "linux"})
    assert (manifest["annotations"], manifest["future"]) == ({"a": "b"}, {"x": [1]})
    assert manifest["layers"][0].keys() == {"mediaType", "digest", "size", "annotations"}
    assert manifest["layers"][0]["annotations"] == {"mine": "1"}


def test_attestations_point_at_the_new_manifests(library: Library) -> None:
    image = library.image(library.layer())
    about = library.attestation(image)
    root = library.index(about, image)

    new = library.convert(root, compression="zstd")

    note, child = library.document(new)["manifests"]
    attestation = library.document(Digest(note["digest"]))
    assert note["annotations"]["vnd.docker.reference.digest"] == child["digest"]
    assert note["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
    assert attestation["subject"]["digest"] == child["digest"]
    assert attestation["layers"] == library.document(about)["layers"]


def test_docker_has_no_attestations_and_says_so(library: Library) -> None:
    image = library.image(library.layer())
    root = library.index(image, library.attestation(image))

    events = library.events(root, media_types=DOCKER)

    new = library.document(library.convert(root, media_types=DOCKER))
    assert [child["mediaType"] for child in new["manifests"]] == [mediatypes.DOCKER_MANIFEST]
    assert [event.text[-60:] for event in events if isinstance(event, Noted)] == [
        f"index {root.digest}: 1 attestations left out; docker's types have none"[-60:]
    ]


def test_chosen_platforms_make_a_smaller_index_with_what_is_about_them(library: Library) -> None:
    amd, arm, riscv = (library.image(library.layer(), arch=arch) for arch in ("amd64", "arm64", "riscv64"))
    root = library.index(amd, arm, riscv, library.attestation(amd), library.attestation(arm))

    new = library.document(library.convert(root, selection=only("linux/riscv64", "linux/amd64")))
    one = library.document(library.convert(root, selection=only("linux/arm64"), compression="zstd"))

    assert [child["digest"] for child in new["manifests"][:2]] == [amd.digest, riscv.digest]
    assert [child["platform"]["architecture"] for child in new["manifests"]] == [
        "amd64",
        "riscv64",
        "unknown",
    ]
    assert [child["platform"]["architecture"] for child in one["manifests"]] == ["arm64", "unknown"]
    with pytest.raises(NotFound, match="nothing for linux/s390x"):
        library.convert(root, selection=only("linux/s390x"))


def test_images_that_are_not_here_are_left_out_aloud(library: Library) -> None:
    image, away = library.image(library.layer()), library.image(library.layer(), arch="arm64")
    hollow_layer = library.layer()
    hollow = library.image(hollow_layer, arch="s390x")
    root = library.index(image, away, hollow, library.attestation(away))
    library.store.delete(away.digest)
    library.store.delete(hollow_layer[0].digest)

    events = library.events(root, compression="zstd")

    notes = [event.text for event in events if isinstance(event, Noted)]
    assert notes == [f"index {root.digest}: 2 images not here, left out (linux/arm64, linux/s390x)"]
    new = library.document(library.convert(root, compression="zstd"))
    assert [child["platform"]["architecture"] for child in new["manifests"]] == ["amd64"]
    assert library.convert(root) == root


@pytest.mark.parametrize("options", [{"partial": False}, {"selection": only("linux/arm64")}])
def test_images_that_are_asked_for_must_be_here(library: Library, options: dict[str, Any]) -> None:
    image, away = library.image(library.layer()), library.image(library.layer(), arch="arm64")
    root = library.index(image, away)
    library.store.delete(away.digest)

    with pytest.raises(NotFound, match=rf"image {away.digest} \(linux/arm64\): .* dist pull brings it"):
        library.convert(root, compression="zstd", **options)


def test_an_index_of_which_nothing_is_here_is_refused(library: Library) -> None:
    away = library.image(library.layer())
    root = library.index(away)
    library.store.delete(away.digest)

    with pytest.raises(NotFound, match="none of its images is in the store"):
        library.convert(root)


def test_a_layer_that_is_not_that_of_its_config_is_data_loss(library: Library) -> None:
    (layer, _), names = library.layer(), Names()
    root = library.image((layer, Digest.of(b"another")))

    with pytest.raises(DataLoss, match=rf"^layer {layer.digest}: unpacks to"):
        library.convert(root, compression="zstd", images=names)

    assert names.names == {}
    assert list(library.store.statuses()) == []


def test_a_damaged_layer_is_data_loss(library: Library) -> None:
    _, diff_id = library.layer()
    broken = put(library.store, gzip.compress(b"x")[:-4], mediatypes.OCI_LAYER_GZIP)

    with pytest.raises(DataLoss, match="the end is missing"):
        library.convert(library.image((broken, diff_id)), compression="zstd")


def test_configs_that_do_not_agree_with_the_layers_are_data_loss(library: Library) -> None:
    layer, other = library.layer(), library.layer()
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer[1]]}}
    short = library.image(layer, other, config=config)
    twice = library.index(library.image(layer), library.image((layer[0], other[1]), arch="arm64"))

    with pytest.raises(DataLoss, match="2 layers, its config names 1"):
        library.convert(short, compression="zstd")
    with pytest.raises(DataLoss, match="one config says"):
        library.convert(twice, compression="zstd")


def test_a_bomb_ends_at_the_limit(library: Library) -> None:
    root = library.image(library.layer())

    with pytest.raises(ResourceExhausted, match="unpacks to more than 1000 bytes"):
        library.convert(root, compression="zstd", max_layer=1000)


def test_a_missing_layer_is_named_before_any_work(library: Library) -> None:
    first, second = library.layer(), library.layer()
    root = library.image(first, second)
    library.store.delete(second[0].digest)

    with pytest.raises(NotFound, match=second[0].digest):
        library.convert(root, compression="zstd")


def artifact(library: Library) -> Descriptor:
    config = put(library.store, b"{}", "application/vnd.example.config+json")
    image = library.image(library.layer())
    document = {**library.document(image), "config": config.to_json()}
    return put(library.store, str(document).replace("'", '"').encode(), mediatypes.OCI_MANIFEST)


def test_artifacts_stay_and_have_no_docker_form(library: Library) -> None:
    root = artifact(library)

    assert library.convert(root, compression="zstd", media_types=OCI) == root
    with pytest.raises(InvalidArgument, match=r"an artifact \(application/vnd\.example\.config\+json\)"):
        library.convert(root, media_types=DOCKER)


def test_nested_indexes_are_converted_and_not_without_end(library: Library) -> None:
    root = library.index(library.image(library.layer()))
    for _ in range(3):
        root = library.index(root)
    deep = root
    for _ in range(8):
        deep = library.index(deep)

    new = library.convert(root, compression="zstd")

    assert new.digest != root.digest
    with pytest.raises(ResourceExhausted, match="levels"):
        library.convert(deep, compression="zstd")


def test_a_stop_ends_it_and_names_nothing(library: Library) -> None:
    root, stop, names = library.image(library.layer()), Stop(), Names()
    stop.set()

    with pytest.raises(Cancelled):
        list(
            convert(
                library.store,
                root,
                name="x",
                images=names,
                options=ConvertOptions(compression="zstd"),
                stop=stop,
            )
        )

    assert names.names == {}
    assert list(library.store.statuses()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression": "lzma"}, "want one of gzip, zstd, uncompressed"),
        ({"media_types": "other"}, "want one of oci, docker"),
        ({"level": 3}, "nothing is compressed"),
        ({"compression": "gzip", "level": 12}, "gzip has 1 to 9"),
        ({"compression": "zstd", "media_types": "docker"}, "docker's media types have none"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        ConvertOptions(**options)


def test_the_sizes_are_those_of_the_new_image(library: Library) -> None:
    layer = library.layer()
    root = library.image(layer, layer)

    done = library.finished(root, compression="zstd")

    new = library.document(done.descriptor)
    assert isinstance(library.store, MemoryStore)
    assert done.moved == new["layers"][0]["size"]
    assert done.size == done.descriptor.size + new["config"]["size"] + new["layers"][0]["size"]
