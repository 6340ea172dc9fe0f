"""The contract of repositories: manifests, tags, and what refers to what."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.repositories import ManifestRecord, Pull
from distore.testing.repository_contract import MANIFEST, NOWHERE, SBOM, SIGNATURE, RepositoryContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.repositories import Repositories
    from distore.testing.lease_suite import Clock


class RepositoryManifests(RepositoryContract):
    """Manifests, tags and referrers."""

    def test_a_manifest_is_offered_as_it_was_put(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        children = ((Digest.of(b"a"), 1), (NOWHERE, 7))
        put = manifest(b"m", children=children, subject=NOWHERE, artifact_type=SBOM)

        found = repositories.manifest("app", put.descriptor.digest)

        assert found is not None
        assert replace(found, children=(), pushed=None) == replace(put, children=())
        assert sorted(found.children) == sorted(children)
        assert found.pushed == datetime.fromtimestamp(clock.now, UTC)
        assert repositories.has("app", put.descriptor.digest)
        assert repositories.manifest("other", put.descriptor.digest) is None
        assert repositories.manifests("app") == [found]

    def test_a_manifest_that_needs_what_is_not_offered_changes_nothing(
        self, repositories: Repositories, blob: Callable[..., Digest], stored: Callable[[bytes], Digest]
    ) -> None:
        there = blob(b"layer")
        elsewhere = blob(b"elsewhere", "other")
        record = ManifestRecord(
            descriptor=Descriptor(media_type=MANIFEST, digest=stored(b"m"), size=1), children=((there, 5),)
        )

        missing = repositories.put_manifest("app", record, tags=["v1"], needed=[NOWHERE, there, elsewhere])

        assert missing == [NOWHERE, elsewhere]
        assert not repositories.has("app", record.descriptor.digest)
        assert repositories.tag("app", "v1") is None
        assert repositories.put_manifest("app", record, tags=["v1"], needed=[there]) == []

    def test_a_manifest_put_again_counts_as_pushed_now_and_keeps_its_pulls(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        digest = manifest(b"m").descriptor.digest
        repositories.note_pulled([Pull(repository="app", digest=digest, when=clock.now)])
        first, clock.now = clock.now, clock.now + 60
        manifest(b"m")

        found = repositories.manifest("app", digest)
        assert found is not None
        assert found.pushed == datetime.fromtimestamp(clock.now, UTC)
        assert found.pulled == datetime.fromtimestamp(first, UTC)

    def test_manifests_come_in_the_order_of_their_digests(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord]
    ) -> None:
        children = ((NOWHERE, 1), (Digest.of(b"a"), 2))
        digests = sorted(manifest(b"%d" % n, children=children).descriptor.digest for n in range(5))

        found = repositories.manifests("app", after=digests[1], limit=2)

        assert [record.descriptor.digest for record in found] == digests[2:4]
        assert [sorted(record.children) for record in found] == [sorted(children)] * 2
        assert [record.descriptor.digest for record in repositories.manifests("app")] == digests

    def test_a_tag_names_what_was_put_under_it_last(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        manifest(b"one", "v1", "latest")
        clock.now += 60
        two = manifest(b"two", "latest").descriptor

        tag = repositories.tag("app", "latest")
        assert tag is not None
        assert tag.descriptor == Descriptor(media_type=MANIFEST, digest=two.digest, size=3)
        assert tag.updated == datetime.fromtimestamp(clock.now, UTC)
        assert (tag.pulled, tag.checked) == (None, None)
        old = repositories.tag("app", "v1")
        assert old is not None
        assert old.descriptor.digest == Digest.of(b"one")

    def test_a_tag_that_is_put_again_as_it_is_was_not_updated(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        manifest(b"one", "v1")
        first, clock.now = clock.now, clock.now + 60
        manifest(b"one", "v1")

        tag = repositories.tag("app", "v1")
        assert tag is not None
        assert tag.updated == datetime.fromtimestamp(first, UTC)

    def test_a_repository_was_updated_when_its_newest_tag_was(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        manifest(b"untagged")
        before = repositories.usage("app")
        manifest(b"one", "z")
        clock.now += 60
        manifest(b"two", "a")

        newest = repositories.usage("app")

        assert before is not None
        assert before.updated is None
        assert newest is not None
        assert newest.updated == datetime.fromtimestamp(clock.now, UTC)

    def test_tags_are_in_the_order_of_their_bytes_and_begin_behind_one(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord]
    ) -> None:
        manifest(b"m", "b", "a", "B", "a.1", "a-1", "a_1", "1", "_")

        def names(**options: object) -> list[str]:
            return [tag.name for tag in repositories.tags("app", **options)]  # type: ignore[arg-type] # both

        assert names() == ["1", "B", "_", "a", "a-1", "a.1", "a_1", "b"]
        assert names(after="_", limit=3) == ["a", "a-1", "a.1"]
        assert names(after="a!") == ["a-1", "a.1", "a_1", "b"]
        assert names(after="b") == []
        assert names(limit=0) == []

    def test_removing_a_tag_leaves_its_manifest_and_other_tags(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord]
    ) -> None:
        digest = manifest(b"m", "v1", "v2").descriptor.digest

        assert repositories.untag("app", "v1")
        assert not repositories.untag("app", "v1")
        assert [tag.name for tag in repositories.tags("app")] == ["v2"]
        assert repositories.manifest("app", digest) is not None

    def test_a_tag_that_was_removed_begins_anew(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        digest = manifest(b"m", "v1").descriptor.digest
        repositories.note_pulled([Pull(repository="app", digest=digest, when=clock.now, tag="v1")])
        repositories.untag("app", "v1")
        clock.now += 60
        manifest(b"m", "v1")

        tag = repositories.tag("app", "v1")
        assert tag is not None
        assert (tag.updated, tag.pulled) == (datetime.fromtimestamp(clock.now, UTC), None)

    def test_a_manifest_goes_with_its_tags_and_its_references(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord]
    ) -> None:
        subject = manifest(b"m", "v1", "v2").descriptor.digest
        manifest(b"other", "v3")
        signature = manifest(b"s", subject=subject).descriptor.digest

        assert repositories.delete_manifest("app", signature)
        assert repositories.referrers("app", subject) == []
        assert repositories.delete_manifest("app", subject)
        assert not repositories.delete_manifest("app", subject)

        assert [tag.name for tag in repositories.tags("app")] == ["v3"]
        assert not repositories.has("app", subject)

    def test_a_manifest_is_not_deleted_as_a_blob_nor_a_blob_as_a_manifest(
        self, repositories: Repositories, blob: Callable[..., Digest], manifest: Callable[..., ManifestRecord]
    ) -> None:
        layer, record = blob(b"layer"), manifest(b"m")

        assert not repositories.delete_blob("app", record.descriptor.digest)
        assert not repositories.delete_manifest("app", layer)
        assert repositories.has("app", layer)
        assert repositories.has("app", record.descriptor.digest)

    def test_referrers_of_what_is_not_there_are_listed_by_type_and_digest(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord]
    ) -> None:
        signatures = [manifest(b"s%d" % n, subject=NOWHERE, artifact_type=SIGNATURE) for n in range(3)]
        sbom = manifest(b"b", subject=NOWHERE, artifact_type=SBOM)
        plain = manifest(b"p", subject=NOWHERE)
        manifest(b"x", repository="other", subject=NOWHERE)
        everything = sorted((each.descriptor for each in (*signatures, sbom, plain)), key=_digest)
        signed = sorted((each.descriptor for each in signatures), key=_digest)

        assert repositories.referrers("app", NOWHERE) == everything
        assert repositories.referrers("app", NOWHERE, artifact_type=SIGNATURE) == signed
        assert repositories.referrers("app", NOWHERE, after=everything[1].digest, limit=2) == everything[2:4]
        assert repositories.referrers("app", NOWHERE, artifact_type=SIGNATURE, limit=1) == signed[:1]
        assert repositories.referrers("app", plain.descriptor.digest) == []


def _digest(descriptor: Descriptor) -> Digest:
    return descriptor.digest
