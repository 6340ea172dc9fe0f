"""RemoteSuite: the contract of remotes/resolver.py, one test a sentence, against any registry.

Subclass it and give a ``resolver`` and a ``repository`` fixture; the repository must be one that is
not there yet, a new one for each test. Nothing in the suite knows what the registry is.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Final

import pytest

from distore.content.blobs import write_blob
from distore.content.memory import MemoryStore
from distore.errors import DistoreError, FailedPrecondition, NotFound, Unimplemented
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.reference import Reference
from distore.remotes.fetch import fetch, fetch_document
from distore.remotes.resolver import Target
from distore.testing.altered import Altered
from distore.transfer.progress import Done, Finished
from distore.transfer.push import push

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distore.content.store import Reader
    from distore.remotes.resolver import Resolver
    from distore.transfer.progress import Event

BLOB: Final = random.Random(5).randbytes(300_000)
LAYER: Final = Descriptor(media_type=mediatypes.OCI_LAYER_GZIP, digest=Digest.of(BLOB), size=len(BLOB))
SBOM: Final = "application/spdx+json"
_CONFIG: Final = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


class RemoteSuite:
    """Push, resolve, fetch, list, refer, delete."""

    def test_what_was_pushed_is_resolved_by_tag_and_by_digest(
        self, resolver: Resolver, repository: Reference
    ) -> None:
        store, root = an_image([b"layer"])

        send(resolver, repository, store, root)

        tagged = resolver.resolve(named(repository, "v1"))
        assert (tagged.digest, tagged.size, tagged.media_type) == (root.digest, root.size, root.media_type)
        by_digest = Reference(domain=repository.domain, path=repository.path, digest=root.digest)
        assert resolver.resolve(by_digest).digest == root.digest

    def test_what_was_pushed_is_fetched_byte_by_byte(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([BLOB, b"small"])
        send(resolver, repository, store, root)
        copy, fetcher = MemoryStore(), resolver.fetcher(repository)

        manifest = fetch_document(fetcher, Target(digest=root.digest, media_type=root.media_type))
        document = json.loads(manifest.data)
        for child in (document["config"], *document["layers"]):
            fetch(copy, fetcher, Target(digest=Digest(child["digest"]), size=child["size"]))

        assert manifest.data == read(store, root.digest)
        found = {info.digest for info in copy.walk()}
        assert found == {info.digest for info in store.walk()} - {root.digest}

    def test_a_fetch_goes_on_where_another_one_stopped(
        self, resolver: Resolver, repository: Reference
    ) -> None:
        store, root = an_image([BLOB])
        send(resolver, repository, store, root)
        with resolver.fetcher(repository).open(Target(digest=LAYER.digest), offset=100_000) as stream:
            data = b"".join(iter(lambda: stream.read(1 << 20), b""))

        assert (stream.offset, stream.size) == (100_000, len(BLOB))
        assert data == BLOB[100_000:]

    def test_what_is_not_there_is_not_found(self, resolver: Resolver, repository: Reference) -> None:
        with pytest.raises(NotFound):
            resolver.resolve(named(repository, "v1"))
        with pytest.raises(NotFound):
            resolver.fetcher(repository).open(Target(digest=LAYER.digest))
        assert not resolver.pusher(repository).exists(LAYER)

    def test_a_second_push_sends_no_blob(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([BLOB, b"small"])
        send(resolver, repository, store, root)

        events = send(resolver, repository, store, root)

        assert [event.how for event in events if isinstance(event, Done)][:-1] == ["present"] * 3
        assert isinstance(events[-1], Finished)
        assert events[-1].moved == 0

    def test_a_tag_moves_with_a_later_push(self, resolver: Resolver, repository: Reference) -> None:
        for layer in (b"first", b"second"):
            store, root = an_image([layer])
            send(resolver, repository, store, root)

            assert resolver.resolve(named(repository, "v1")).digest == root.digest

    def test_an_empty_blob_travels_both_ways(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([b""])
        send(resolver, repository, store, root)

        digest = fetch(
            store := MemoryStore(), resolver.fetcher(repository), Target(digest=Digest.of(b""), size=0)
        )

        assert read(store, digest) == b""

    def test_an_image_of_many_small_layers_arrives(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([str(number).encode() for number in range(50)])

        send(resolver, repository, store, root)

        document = json.loads(read(store, root.digest))
        layers = [Descriptor.from_json(layer) for layer in document["layers"]]
        assert len(layers) == 50
        assert all(resolver.pusher(repository).exists(layer) for layer in layers)

    def test_an_index_arrives_with_its_images(self, resolver: Resolver, repository: Reference) -> None:
        store, one = an_image([b"one"])
        _, two = an_image([b"two"], store=store)
        document = {"manifests": [one.to_json(), two.to_json()]}
        root = keep(store, mediatypes.OCI_INDEX, document)

        send(resolver, repository, store, root)

        assert resolver.resolve(named(repository, "v1")).media_type == mediatypes.OCI_INDEX
        for image in (one, two):
            target = Target(digest=image.digest, media_type=image.media_type)
            data = fetch_document(resolver.fetcher(repository), target).data
            assert data == read(store, image.digest)

    def test_a_blob_of_another_repository_is_there_after_a_mount(
        self, resolver: Resolver, repository: Reference
    ) -> None:
        store, root = an_image([BLOB])
        send(resolver, repository, store, root)
        other = Reference(domain=repository.domain, path=f"{repository.path}-mounted")

        how = resolver.pusher(other).push(LAYER, store, sources=[repository.path])

        assert how in ("mounted", "pushed")
        assert resolver.pusher(other).exists(LAYER)

    def test_tags_are_listed(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([b"layer"])
        names = [f"v{number}" for number in range(5)]
        for name in names:
            send(resolver, repository, store, root, tag=name)

        assert sorted(resolver.repository(repository).tags()) == names

    def test_a_repository_that_is_not_there_has_no_tags(
        self, resolver: Resolver, repository: Reference
    ) -> None:
        with pytest.raises(NotFound):
            list(resolver.repository(repository).tags())

    def test_what_refers_to_an_image_is_found(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([b"layer"])
        send(resolver, repository, store, root)
        referrers = [about(store, root, kind) for kind in (SBOM, "a/signature")]

        for referrer in referrers:
            send(resolver, repository, store, referrer, tag=None)

        found = {each.digest: each for each in resolver.repository(repository).referrers(root.digest)}
        assert set(found) == {referrer.digest for referrer in referrers}
        assert found[referrers[0].digest].artifact_type == SBOM
        assert found[referrers[0].digest].annotations == {"note": SBOM}
        chosen = resolver.repository(repository).referrers(root.digest, artifact_type=SBOM)
        assert [each.digest for each in chosen] == [referrers[0].digest]

    def test_nothing_refers_to_a_new_image(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([b"layer"])
        send(resolver, repository, store, root)

        assert list(resolver.repository(repository).referrers(root.digest)) == []

    def test_a_manifest_without_its_blobs_is_refused(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([b"layer"])

        with pytest.raises(FailedPrecondition):
            resolver.pusher(named(repository, "v1")).tag(root, store)

        with pytest.raises(NotFound):
            resolver.resolve(named(repository, "v1"))

    def test_damaged_bytes_are_refused_and_nothing_is_tagged(
        self, resolver: Resolver, repository: Reference
    ) -> None:
        store, root = an_image([BLOB])
        layer = Digest.of(BLOB)
        damaged = _Damaged(store, layer)

        with pytest.raises(DistoreError, match=f"content {layer}: damaged"):
            list(push(damaged, root, resolver.pusher(named(repository, "v1"))))

        with pytest.raises(NotFound):
            resolver.resolve(named(repository, "v1"))

    def test_a_manifest_that_is_deleted_is_gone(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([b"layer"])
        send(resolver, repository, store, root)
        known = resolver.repository(repository)
        try:
            known.delete(Target(digest=root.digest))
        except Unimplemented as error:
            pytest.skip(str(error))

        with pytest.raises(NotFound):
            resolver.resolve(named(repository, "v1"))
        with pytest.raises(NotFound):
            known.delete(Target(digest=root.digest))

    def test_a_blob_that_is_deleted_is_gone(self, resolver: Resolver, repository: Reference) -> None:
        store, root = an_image([BLOB])
        send(resolver, repository, store, root)
        try:
            resolver.repository(repository).delete(Target(digest=LAYER.digest))
        except Unimplemented as error:
            pytest.skip(str(error))

        assert not resolver.pusher(repository).exists(LAYER)


class _Damaged:
    """A Provider with one blob whose bytes are others."""

    def __init__(self, store: MemoryStore, victim: Digest) -> None:
        self._store = store
        self._victim = victim

    def reader(self, digest: Digest, /) -> Reader:
        reader = self._store.reader(digest)
        return Altered(reader, flipped=True) if digest == self._victim else reader


def named(repository: Reference, tag: str | None) -> Reference:
    return Reference(domain=repository.domain, path=repository.path, tag=tag)


def send(
    resolver: Resolver,
    repository: Reference,
    store: MemoryStore,
    root: Descriptor,
    *,
    tag: str | None = "v1",
) -> list[Event]:
    """Push; what happened."""
    return list(push(store, root, resolver.pusher(named(repository, tag))))


def an_image(layers: Sequence[bytes], *, store: MemoryStore | None = None) -> tuple[MemoryStore, Descriptor]:
    """An image of ``layers``, whatever bytes they are, in ``store`` or a new one."""
    store = MemoryStore() if store is None else store
    parts = [(mediatypes.OCI_CONFIG, _CONFIG), *((mediatypes.OCI_LAYER_GZIP, layer) for layer in layers)]
    config, *rest = [
        Descriptor(media_type=kind, digest=write_blob(store, "keep", data), size=len(data)).to_json()
        for kind, data in parts
    ]
    return store, keep(store, mediatypes.OCI_MANIFEST, {"config": config, "layers": rest})


def about(store: MemoryStore, subject: Descriptor, kind: str) -> Descriptor:
    """An artifact of that type about ``subject``."""
    empty = Descriptor(media_type=mediatypes.OCI_EMPTY, digest=write_blob(store, "keep", b"{}"), size=2)
    document = {
        "artifactType": kind,
        "config": empty.to_json(),
        "layers": [empty.to_json()],
        "subject": subject.to_json(),
        "annotations": {"note": kind},
    }
    return keep(store, mediatypes.OCI_MANIFEST, document)


def keep(store: MemoryStore, media_type: str, document: Mapping[str, object]) -> Descriptor:
    """A document in the store."""
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, **document}).encode()
    return Descriptor(media_type=media_type, digest=write_blob(store, "keep", data), size=len(data))


def read(store: MemoryStore, digest: Digest) -> bytes:
    with store.reader(digest) as reader:
        return reader.read_at(reader.size, 0)
