"""What of an image is there: every way in which it is not all there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from distore.content.memory import MemoryStore
from distore.errors import NotFound, ResourceExhausted
from distore.images import check as module
from distore.images.check import Checker, State, check
from distore.images.select import Selection
from distore.images.walk import MAX_DEPTH
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.content.memory import MemoryReader
    from distore.content.store import Status

ARM = Selection(platforms=(Platform.parse("linux/arm64"),))
EMPTY_CONFIG: Final = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}


def put(store: MemoryStore, data: bytes, media_type: str, **more: object) -> Descriptor:
    found = of(data, media_type, **more)
    try:
        store.info(found.digest)
    except NotFound:
        with store.writer(found.digest) as writer:
            writer.write(data)
            writer.commit()
    return found


def of(data: bytes, media_type: str = mediatypes.OCI_LAYER, **more: object) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data), **more)  # type: ignore[arg-type]  # fields of a descriptor


def manifest(
    store: MemoryStore, *layers: Descriptor, config: bytes | None = None, **more: object
) -> Descriptor:
    data = json.dumps(EMPTY_CONFIG).encode() if config is None else config
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": put(store, data, mediatypes.OCI_CONFIG).to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    return put(store, json.dumps(document).encode(), mediatypes.OCI_MANIFEST, **more)


def index(store: MemoryStore, *manifests: Descriptor, **more: object) -> Descriptor:
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [each.to_json() for each in manifests],
    }
    return put(store, json.dumps(document).encode(), mediatypes.OCI_INDEX, **more)


def layer(store: MemoryStore, data: bytes) -> Descriptor:
    return put(store, data, mediatypes.OCI_LAYER)


def platform(text: str) -> Platform:
    return Platform.parse(text)


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


def test_a_whole_image_is_whole(memory: MemoryStore) -> None:
    one, two = layer(memory, b"one"), layer(memory, b"twelve")
    root = manifest(memory, one, two, one)

    found = check(memory, root)

    assert (found.is_complete, found.is_whole, found.is_damaged) == (True, True, False)
    assert (found.missing, found.absent, found.platforms) == ((), (), ("linux/amd64",))
    assert next(iter(found.objects)) == root.digest
    assert found.size == sum(part.descriptor.size for part in found.objects.values())
    (branch,) = found.branches
    assert [part.descriptor for part in branch.objects[2:]] == [one, two]
    assert (branch.manifest, branch.about) == (root, None)


def test_a_layer_that_is_missing_is_told_with_what_an_ingest_keeps_of_it(memory: MemoryStore) -> None:
    gone, begun = of(b"gone"), of(b"begun, not ended")
    root = manifest(memory, layer(memory, b"one"), gone, begun)
    with memory.writer("a", expected=begun.digest) as writer:
        writer.write(b"begun,")
    with memory.writer("b", expected=begun.digest) as writer:
        writer.write(b"be")

    found = check(memory, root)

    assert (found.is_complete, found.is_damaged, found.platforms) == (False, False, ())
    assert [(part.descriptor, part.state, part.received, part.lacking) for part in found.missing] == [
        (gone, State.MISSING, 0, 4),
        (begun, State.MISSING, 6, 10),
    ]


def test_a_blob_of_another_size_is_told(memory: MemoryStore) -> None:
    right = layer(memory, b"one")
    wrong = Descriptor(media_type=right.media_type, digest=right.digest, size=7)
    root = manifest(memory, right, wrong)

    (part,) = check(memory, root).missing

    assert (part.state, part.size, part.lacking) == (State.WRONG_SIZE, 3, 7)
    assert part.detail == "has 3 bytes, its descriptor says 7"


def test_a_root_that_is_missing_has_nothing_below_it(memory: MemoryStore) -> None:
    for kind in (mediatypes.OCI_INDEX, mediatypes.OCI_MANIFEST):
        root = of(b"{}", kind)

        found = check(memory, root)

        assert [part.state for part in found.missing] == [State.MISSING]
        assert (found.below, len(found.branches), found.is_complete) == ({}, 1, False)
        assert check(memory, root, ARM).is_complete is False


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"nonsense",
        b'{"schemaVersion":1}',
        b'{"schemaVersion":2,"manifests":[{}]}',
        b" " * (4 * 1024 * 1024 + 1),
    ],
    ids=range(6),
)
def test_a_document_that_is_nonsense_is_reported_and_not_raised(memory: MemoryStore, data: bytes) -> None:
    bad = put(memory, data, mediatypes.OCI_MANIFEST, platform=platform("linux/arm64"))
    good = manifest(memory, platform=platform("linux/amd64"))

    found = check(memory, index(memory, good, bad))
    alone = check(memory, bad, ARM)

    assert (found.is_complete, found.is_damaged, found.platforms) == (False, True, ("linux/amd64",))
    ((part,), (lone,)) = found.missing, alone.missing
    assert (part.descriptor, part.state, lone.state) == (bad, State.DAMAGED, State.DAMAGED)
    assert str(bad.digest) in part.detail and "\n" not in part.detail


def test_a_document_whose_bytes_are_others_is_reported(memory: MemoryStore) -> None:
    root = manifest(memory)
    data = bytearray(root.size)

    class Rotten(MemoryStore):
        def reader(self, digest: Digest, /) -> MemoryReader:
            return memory.reader(put(memory, bytes(data), mediatypes.OCI_LAYER).digest)

    (part,) = check(Rotten(), root).missing

    assert part.state is State.DAMAGED
    assert "damaged in the store" in part.detail


def test_an_artifact_whose_config_says_nothing_has_no_platform(memory: MemoryStore) -> None:
    found = check(memory, manifest(memory, config=b"nonsense"))

    assert found.is_whole
    assert found.platforms == ()


def test_a_config_whose_bytes_are_others_is_reported_where_it_has_to_say_the_platform(
    memory: MemoryStore,
) -> None:
    root = manifest(memory)
    config = Digest.of(json.dumps(EMPTY_CONFIG).encode())
    rotten = put(memory, json.dumps(EMPTY_CONFIG).swapcase().encode(), mediatypes.OCI_LAYER)

    class Rotten(MemoryStore):
        def reader(self, digest: Digest, /) -> MemoryReader:
            return memory.reader(rotten.digest if digest == config else digest)

    (part,) = check(Rotten(), root).missing

    assert (part.descriptor.digest, part.state) == (config, State.DAMAGED)


def test_what_a_sparse_index_names_need_not_be_there(memory: MemoryStore) -> None:
    here = manifest(memory, layer(memory, b"one"), platform=platform("linux/amd64"))
    absent = of(b"elsewhere", mediatypes.OCI_MANIFEST, platform=platform("linux/arm64"))
    inner = of(b"inner", mediatypes.OCI_INDEX)
    root = index(memory, here, absent, inner)

    found = check(memory, root)

    assert (found.is_complete, found.is_whole, found.missing) == (True, False, ())
    assert [branch.manifest for branch in found.absent] == [absent, inner]
    assert found.platforms == ("linux/amd64",)
    chosen = check(memory, root, ARM)
    assert [part.descriptor for part in chosen.missing] == [absent]
    assert chosen.absent == ()


def test_an_index_of_which_nothing_is_there_is_no_image(memory: MemoryStore) -> None:
    absent = of(b"elsewhere", mediatypes.OCI_MANIFEST, platform=platform("linux/arm64"))
    about = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": absent.digest,
    }
    attestation = manifest(memory, annotations=about)

    found = check(memory, index(memory, absent, attestation))

    assert not found.is_complete
    assert [part.descriptor for part in found.missing] == [absent]


def test_an_image_that_was_begun_is_not_complete_however_sparse_its_index(memory: MemoryStore) -> None:
    whole = manifest(memory, platform=platform("linux/amd64"))
    begun = manifest(memory, of(b"gone"), platform=platform("linux/arm64"))

    found = check(memory, index(memory, whole, begun))

    assert [part.descriptor for part in found.missing] == [of(b"gone")]
    assert found.platforms == ("linux/amd64",)


def test_attestations_are_told_apart(memory: MemoryStore) -> None:
    image = manifest(memory, layer(memory, b"one"), platform=platform("linux/amd64"))
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest}
    attestation = manifest(
        memory,
        layer(memory, b"sbom"),
        platform=Platform(os="unknown", architecture="unknown"),
        annotations=about,
    )

    found = check(memory, index(memory, image, attestation))

    assert [branch.about for branch in found.branches] == [None, image.digest]
    assert found.platforms == ("linux/amd64",)
    assert check(
        memory, index(memory, image, attestation), Selection(platforms=(platform("amd64"),))
    ).is_whole


def test_a_layer_that_only_its_urls_have_is_not_missed(memory: MemoryStore) -> None:
    foreign = of(b"windows", mediatypes.DOCKER_LAYER_FOREIGN, urls=("https://example.com/x",))
    ordinary = Descriptor(media_type=mediatypes.OCI_LAYER, digest=foreign.digest, size=foreign.size)

    found = check(memory, manifest(memory, foreign))

    assert found.is_whole
    assert found.objects[foreign.digest].state is State.ELSEWHERE
    assert not check(memory, manifest(memory, foreign, ordinary)).is_complete
    put(memory, b"windows", mediatypes.OCI_LAYER)
    assert check(memory, manifest(memory, foreign)).objects[foreign.digest].state is State.PRESENT


def test_one_manifest_for_two_platforms_is_one_branch(memory: MemoryStore) -> None:
    one = manifest(memory, platform=platform("linux/arm/v7"))
    root = index(memory, one, manifest(memory, platform=platform("linux/arm/v6")), one)

    found = check(memory, root)

    assert [list(map(str, branch.platforms)) for branch in found.branches] == [
        ["linux/arm/v7", "linux/arm/v6"]
    ]
    assert found.platforms == ("linux/arm/v7", "linux/arm/v6")


def test_an_index_in_an_index_and_what_is_no_document_in_one(memory: MemoryStore) -> None:
    image = manifest(memory, platform=platform("linux/amd64"))
    readme = put(memory, b"read me", "text/plain")
    root = index(memory, index(memory, image), readme)

    found = check(memory, root)

    assert [branch.manifest for branch in found.branches] == [readme, image]
    assert found.is_whole
    assert check(memory, readme).is_whole
    assert check(memory, index(memory)).is_whole


def test_a_platform_that_the_image_is_not_for_is_not_found(memory: MemoryStore) -> None:
    single = manifest(memory)

    with pytest.raises(NotFound, match="has nothing for linux/arm64; it has linux/amd64"):
        check(memory, index(memory, manifest(memory, platform=platform("linux/amd64"))), ARM)
    with pytest.raises(NotFound, match=f"manifest {single.digest}: is for linux/amd64, not for linux/arm64"):
        check(memory, single, ARM)
    assert check(memory, single, Selection(platforms=(platform("linux/amd64"),))).is_complete


def test_ingests_are_asked_for_once_and_only_when_something_is_missing(memory: MemoryStore) -> None:
    asked = []

    class Counting(MemoryStore):
        def statuses(self, *filters: str) -> Iterator[Status]:
            asked.append(filters)
            return super().statuses(*filters)

    counting = Counting()
    whole, lacking = manifest(counting), manifest(counting, of(b"a"), of(b"b"))

    checker = Checker(counting)
    checker.check(whole)
    before = len(asked)
    checker.check(lacking)
    checker.check(lacking)
    Checker(counting, ingests=False).check(lacking)

    assert (before, len(asked)) == (0, 1)


def test_too_many_levels_end_with_an_error(memory: MemoryStore) -> None:
    root = manifest(memory)
    for _ in range(MAX_DEPTH - 1):
        root = index(memory, root)

    assert check(memory, root).is_whole
    with pytest.raises(ResourceExhausted, match=f"more than {MAX_DEPTH} levels below it"):
        check(memory, index(memory, root))


def test_too_many_objects_end_with_an_error(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OBJECTS", 20)
    root = index(memory, *(of(b"%d" % number, mediatypes.OCI_MANIFEST) for number in range(20)))

    with pytest.raises(ResourceExhausted, match="more than 20 objects in one image"):
        check(memory, root)


def test_an_index_that_repeats_itself_is_opened_once(memory: MemoryStore) -> None:
    root = manifest(memory, layer(memory, b"one"))
    for _ in range(MAX_DEPTH - 2):
        root = index(memory, *[root] * 200)

    found = check(memory, root)

    assert len(found.objects) == MAX_DEPTH - 2 + 3
    assert len(found.branches) == 1
