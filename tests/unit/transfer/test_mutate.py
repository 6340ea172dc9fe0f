"""Mutate: config, annotations, flattening, and which images of an index are changed."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from tests.unit.transfer.ends_images import read
from tests.unit.transfer.mutate_images import AMD64, ARM64, Maker, child, files, put

from distore.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from distore.images.children import read_manifest
from distore.images.gclabels import gc_labels
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform
from distore.transfer.mutate_config import ConfigChanges

LABELS = {"a": "1"}
ABSENT = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"not there"), size=1)
S390X = Platform(os="linux", architecture="s390x")


@pytest.fixture
def made() -> Maker:
    return Maker()


def rewritten(made: Maker, root: Descriptor, **changes: Any) -> Descriptor:
    """An image with another manifest."""
    document = {**made.document(root), **changes}
    return put(made.store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)


def test_what_a_config_says_is_set(made: Maker) -> None:
    root = made.image(files("a"), config={"Env": ["PATH=/bin", "A=1"], "Labels": {"x": "1", "y": "2"}})

    result = made.configure(
        root,
        env=(("A", "2"), ("B", "b=c"), ("PATH", None)),
        labels={"x": "", "z": "3"},
        entrypoint=("/app",),
        cmd=("-v",),
        user="1000:1000",
        workdir="/srv",
        ports=("80", "53/udp"),
        volumes=("/data",),
        stop_signal="SIGINT",
    )

    assert made.run(result) == {
        "Env": ["A=2", "B=b=c"],
        "Labels": {"y": "2", "z": "3"},
        "Entrypoint": ["/app"],
        "Cmd": ["-v"],
        "User": "1000:1000",
        "WorkingDir": "/srv",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}},
        "StopSignal": "SIGINT",
    }


def test_what_is_not_asked_for_stays_and_so_does_what_is_unknown(made: Maker) -> None:
    more: dict[str, Any] = {"x-more": [1], "annotations": {"k": "v"}}
    root = made.image(files("a"), config={"Healthcheck": {"Test": ["NONE"]}}, **more)
    before, manifest = made.config(root), made.document(root)

    result = made.configure(root, author="ann")

    after = made.config(result)
    assert after == {**before, "author": "ann"}
    assert list(after)[:-1] == list(before)
    assert made.document(result) == {**manifest, "config": made.document(result)["config"]}
    assert made.store.info(result.digest).labels == gc_labels(read_manifest(made.store, result))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"env": (("A", "1"), ("NONE", None))},
        {"labels": {"x": "1", "none": ""}},
        {"entrypoint": ("/app",), "cmd": ("run",)},
        {"entrypoint": ("/app",)},
        {"user": "", "workdir": "/", "stop_signal": ""},
        {"ports": ("80/tcp",), "volumes": ("/v",)},
        {"created": "2020-01-01T00:00:00Z", "author": "", "platform": AMD64},
    ],
)
def test_a_change_to_what_is_so_already_gives_the_same_digest(changes: dict[str, Any], made: Maker) -> None:
    root = made.image(
        files("a"),
        config={
            "Env": ["A=1"],
            "Labels": {"x": "1"},
            "Entrypoint": ["/app"],
            "Cmd": ["run"],
            "User": "",
            "WorkingDir": "/",
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/v": {}},
        },
    )

    result = made.mutate(root, config=ConfigChanges(**changes), annotations={"none": ""})

    assert (result.root, result.changed) == (root, 0)


def test_equal_changes_give_equal_digests_and_created_stays(made: Maker) -> None:
    other = Maker()

    first = made.configure(made.image(files("a")), labels=LABELS)
    second = other.configure(other.image(files("a")), labels=LABELS)

    assert first.digest == second.digest
    assert made.config(first)["created"] == "2020-01-01T00:00:00Z"


def test_another_entrypoint_drops_the_command_of_the_old_one(made: Maker) -> None:
    root = made.image(files("a"), config={"Entrypoint": ["/old"], "Cmd": ["serve"]})

    assert made.run(made.configure(root, entrypoint=("/new",))) == {"Entrypoint": ["/new"]}
    assert made.run(made.configure(root, entrypoint=())) == {}
    assert made.run(made.configure(root, cmd=())) == {"Entrypoint": ["/old"]}


def test_a_platform_is_told_in_the_config_and_in_the_index(made: Maker) -> None:
    root = made.index(child(made.image(files("a")), AMD64))

    result = made.configure(root, platform=ARM64)

    entry = made.document(result)["manifests"][0]
    assert entry["platform"] == {"architecture": "arm64", "os": "linux"}
    assert made.config(Descriptor.from_json(entry))["architecture"] == "arm64"


def test_one_platform_for_several_images_is_refused(made: Maker) -> None:
    root = made.index(
        child(made.image(files("a")), AMD64), child(made.image(files("b"), platform=ARM64), ARM64)
    )
    s390x = ConfigChanges(platform=S390X)

    with pytest.raises(InvalidArgument, match="choose one of them"):
        made.mutate(root, config=s390x)
    assert made.mutate(root, config=s390x, platforms=(ARM64,)).changed == 1


@pytest.mark.parametrize("port", ["0", "65536", "x", "80/ip", "90-80", "80/", ""])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(InvalidArgument, match="want a port"):
        ConfigChanges(ports=(port,))


def test_a_variable_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="want NAME=VALUE"):
        ConfigChanges(env=(("", "x"),))


def test_annotations_are_set_and_removed(made: Maker) -> None:
    image = made.image(files("a"), annotations={"old": "1", "stays": "2"})
    root = made.index(child(image, AMD64), annotations={"i": "1"})

    result = made.mutate(
        root, annotations={"old": "", "new": "3"}, index_annotations={"i": "", "j": "2"}
    ).root

    document = made.document(result)
    assert document["annotations"] == {"j": "2"}
    below = made.document(Descriptor.from_json(document["manifests"][0]))
    assert below["annotations"] == {"stays": "2", "new": "3"}


def test_the_last_annotation_goes_with_its_object(made: Maker) -> None:
    root = made.image(files("a"), annotations={"old": "1"})

    assert "annotations" not in made.document(made.mutate(root, annotations={"old": ""}).root)


def test_docker_images_get_no_annotations(made: Maker) -> None:
    root = made.image(files("a"), docker=True)

    with pytest.raises(FailedPrecondition, match="docker's media types have no annotations"):
        made.mutate(root, annotations={"a": "1"})
    assert made.mutate(root, annotations={"a": ""}).root == root


def test_annotations_of_an_index_need_one(made: Maker) -> None:
    with pytest.raises(FailedPrecondition, match="no index"):
        made.mutate(made.image(files("a")), index_annotations={"a": "1"})


def test_every_image_of_an_index_is_changed_and_what_is_said_about_it_kept(made: Maker) -> None:
    images = [made.image(files("a")), made.image(files("b"), platform=ARM64)]
    root = made.index(
        child(images[0], AMD64, annotations={"k": "v"}),
        child(images[1], ARM64, **{"x-more": 1}),
        x=[2],
    )

    result = made.mutate(root, config=ConfigChanges(labels=LABELS))

    document = made.document(result.root)
    assert result.changed == 2
    assert (document["x"], list(document)) == ([2], list(made.document(root)))
    first, second = document["manifests"]
    assert (first["annotations"], second["x-more"]) == ({"k": "v"}, 1)
    assert [made.run(Descriptor.from_json(entry)) for entry in (first, second)] == [{"Labels": LABELS}] * 2


def test_images_that_are_not_chosen_stay_as_they_are(made: Maker) -> None:
    entries = [child(made.image(files("a")), AMD64), child(ABSENT, ARM64)]
    root = made.index(*entries)

    result = made.mutate(root, config=ConfigChanges(labels=LABELS), platforms=(AMD64,))

    first, second = made.document(result.root)["manifests"]
    assert first["digest"] != entries[0]["digest"]
    assert second == entries[1]
    with pytest.raises(NotFound):
        made.mutate(root, config=ConfigChanges(labels=LABELS), platforms=(ARM64,))


def test_attestations_about_changed_images_are_dropped_and_told_of(made: Maker) -> None:
    images = [made.image(files("a")), made.image(files("b"), platform=ARM64)]
    about = [made.attestation(image) for image in images]
    root = made.index(child(images[0], AMD64), child(images[1], ARM64), *about)

    one = made.mutate(root, config=ConfigChanges(labels=LABELS), platforms=(AMD64,))
    both = made.mutate(root, config=ConfigChanges(labels=LABELS))
    none = made.mutate(root, config=ConfigChanges(labels={"no": ""}))

    assert [str(each.digest) for each in one.attestations] == [about[0]["digest"]]
    assert made.document(one.root)["manifests"][1:] == [child(images[1], ARM64), about[1]]
    assert len(made.document(both.root)["manifests"]) == len(both.attestations) == 2
    assert (none.root, none.attestations) == (root, ())


def test_images_that_are_not_in_the_store_are_left_out_and_told_of(made: Maker) -> None:
    root = made.index(child(made.image(files("a")), AMD64), child(ABSENT, ARM64))

    result = made.mutate(root, config=ConfigChanges(labels=LABELS))

    assert [each.digest for each in result.absent] == [ABSENT.digest]
    assert len(made.document(result.root)["manifests"]) == 1
    with pytest.raises(NotFound, match="none of its images is in the store"):
        made.mutate(made.index(child(ABSENT, ARM64)), config=ConfigChanges(labels=LABELS))


def test_an_index_in_an_index_is_followed(made: Maker) -> None:
    inner = made.index(child(made.image(files("a")), AMD64))
    root = made.index(inner.to_json())

    result = made.mutate(root, config=ConfigChanges(labels=LABELS))

    below = Descriptor.from_json(made.document(result.root)["manifests"][0])
    assert made.run(Descriptor.from_json(made.document(below)["manifests"][0])) == {"Labels": LABELS}


def test_an_artifact_is_no_image(made: Maker) -> None:
    empty = put(made.store, b"{}", mediatypes.OCI_EMPTY)
    document = {"schemaVersion": 2, "config": empty.to_json(), "layers": []}
    artifact = put(made.store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST)

    with pytest.raises(FailedPrecondition, match="an artifact, not an image"):
        made.mutate(artifact, flatten=True)
    root = made.index(artifact.to_json())
    assert made.mutate(root, config=ConfigChanges(labels=LABELS)).root == root


def test_a_lone_image_for_another_platform_is_not_changed(made: Maker) -> None:
    root = made.image(files("a"))

    assert made.mutate(root, config=ConfigChanges(labels=LABELS), platforms=(AMD64,)).changed == 1
    with pytest.raises(NotFound, match="is for linux/amd64, not for linux/arm64"):
        made.mutate(root, config=ConfigChanges(labels=LABELS), platforms=(ARM64,))


def test_what_a_descriptor_embeds_goes_when_it_points_elsewhere(made: Maker) -> None:
    root = made.image(files("a"))
    entry = made.document(root)["config"]
    entry["data"] = base64.b64encode(read(made.store, Descriptor.from_json(entry).digest)).decode()
    result = made.configure(rewritten(made, root, config=entry), author="x")

    assert "data" not in made.document(result)["config"]


def test_flattening_makes_one_layer_with_one_entry_in_the_history(made: Maker) -> None:
    root = made.image(
        files("a", "d/b"), files("d/.wh.b", "c"), history=[{"created_by": "x"}, {"created_by": "y"}]
    )

    result = made.mutate(root, flatten=True, created="2026-01-01T00:00:00Z").root

    assert made.names(result) == [["d", "a", "c"]]
    assert made.config(result)["history"] == [
        {"created": "2026-01-01T00:00:00Z", "created_by": "dist mutate --flatten"}
    ]
    assert made.document(result)["layers"][0]["mediaType"] == mediatypes.OCI_LAYER_GZIP


def test_what_is_flat_stays_as_it_is(made: Maker) -> None:
    once = made.mutate(made.image(files("a"), files(".wh.a", "b")), flatten=True).root

    assert made.mutate(once, flatten=True).root == once


def test_a_layer_that_is_not_what_its_config_says_is_data_loss(made: Maker) -> None:
    good = made.image(files("a"), files("b"))
    root = rewritten(made, good, layers=made.document(good)["layers"][::-1])

    with pytest.raises(DataLoss, match=r"unpacks to sha256:.*, its config says"):
        made.mutate(root, flatten=True)


def test_flattening_needs_every_layer(made: Maker) -> None:
    root = made.image(files("a"))
    digest = Descriptor.from_json(made.document(root)["layers"][0]).digest
    made.store.delete(digest)

    with pytest.raises(NotFound, match=re.escape(f"layer {digest}: not in the store")):
        made.mutate(root, flatten=True)


def test_a_config_that_tells_of_other_layers_than_the_manifest_is_refused(made: Maker) -> None:
    root = rewritten(made, made.image(files("a")), layers=[])

    with pytest.raises(FailedPrecondition, match="has 0 layers, its config tells of 1"):
        made.mutate(root, flatten=True)
