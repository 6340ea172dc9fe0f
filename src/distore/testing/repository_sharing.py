"""The contract of repositories: times, retirement, and many at once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from distore.oci.digest import Digest
from distore.repositories import ManifestRecord, Pull
from distore.testing.repository_contract import RepositoryContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.repositories import Repositories
    from distore.testing.lease_suite import Clock


class RepositorySharing(RepositoryContract):
    """What others did, and do meanwhile."""

    def test_pulls_are_remembered_and_the_latest_counts(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        digest = manifest(b"m", "v1", "v2").descriptor.digest
        later = Pull(repository="app", digest=digest, when=clock.now + 60, tag="v1")
        repositories.note_pulled([later, Pull(repository="app", digest=digest, when=clock.now)])
        repositories.note_pulled([Pull(repository="app", digest=digest, when=clock.now, tag="v1")])

        record, tags = repositories.manifest("app", digest), repositories.tags("app")
        assert record is not None
        moment = datetime.fromtimestamp(clock.now + 60, UTC)
        assert [record.pulled, *(tag.pulled for tag in tags)] == [moment, moment, None]

    def test_pulls_of_what_went_are_nothing(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord]
    ) -> None:
        digest = manifest(b"m", "v1").descriptor.digest
        repositories.delete_manifest("app", digest)

        repositories.note_pulled([Pull(repository="app", digest=digest, when=1.0, tag="v1")])

        assert repositories.tag("app", "v1") is None
        assert repositories.manifest("app", digest) is None

    def test_tags_of_a_cache_are_checked_when_they_are_put_and_when_it_is_said(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        manifest(b"m", "v1", cached=True)
        tag = repositories.tag("app", "v1")
        assert tag is not None
        assert tag.checked == datetime.fromtimestamp(clock.now, UTC)

        repositories.note_checked("app", "v1", clock.now + 60)
        tag = repositories.tag("app", "v1")
        assert tag is not None
        assert tag.checked == datetime.fromtimestamp(clock.now + 60, UTC)

    def test_what_nobody_needs_is_retired(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        child = manifest(b"child")
        index = manifest(b"index", "old", children=((child.descriptor.digest, 5),))
        kept = manifest(b"kept", "new")
        tag = repositories.tag("app", "old")
        assert tag is not None
        clock.now += 3600

        gone = repositories.retire("app", tags=[tag], manifests=[index, child, kept], before=clock.now - 60)

        assert (gone[0], sorted(gone[1])) == (
            ["old"],
            sorted([index.descriptor.digest, child.descriptor.digest]),
        )
        assert [record.descriptor for record in repositories.manifests("app")] == [kept.descriptor]
        assert [each.name for each in repositories.tags("app")] == ["new"]

    def test_what_a_manifest_that_stays_names_is_not_retired(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        child = manifest(b"child")
        manifest(b"index", "v1", children=((child.descriptor.digest, 5),))
        clock.now += 3600

        assert repositories.retire("app", manifests=[child], before=clock.now - 60) == ([], [])

    def test_what_is_about_a_manifest_that_stays_is_not_retired(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        image = manifest(b"image", "v1")
        signature = manifest(b"signature", subject=image.descriptor.digest)
        alone = manifest(b"alone", subject=Digest.of(b"elsewhere"))
        clock.now += 3600
        assert repositories.use("app", image.descriptor.digest)

        gone = repositories.retire("app", manifests=[image, signature, alone], before=clock.now - 60)

        assert gone == ([], [alone.descriptor.digest])

    def test_what_is_about_a_manifest_goes_with_it(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        image = manifest(b"image")
        signature = manifest(b"signature", subject=image.descriptor.digest)
        clock.now += 3600

        repositories.retire("app", manifests=[image, signature], before=clock.now - 60)

        assert repositories.manifests("app") == []

    def test_blobs_are_retired_that_no_manifest_names_and_nobody_was_told_of(
        self,
        repositories: Repositories,
        blob: Callable[..., Digest],
        manifest: Callable[..., ManifestRecord],
        clock: Clock,
    ) -> None:
        old, named, used = blob(b"old"), blob(b"named"), blob(b"used")
        about = manifest(b"m", children=((named, 5),))
        clock.now += 3600
        assert repositories.use("app", used)
        blobs = [old, named, used, about.descriptor.digest]

        repositories.retire("app", blobs=blobs, before=clock.now - 60)

        assert [repositories.has("app", digest) for digest in blobs] == [False, True, True, True]

    def test_a_copy_takes_no_tag_from_who_pushed_it(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord]
    ) -> None:
        pushed = manifest(b"pushed", "v1")

        copy = manifest(b"copy", "v1", "v2", cached=True)

        assert [tag.descriptor.digest for tag in repositories.tags("app")] == [
            pushed.descriptor.digest,
            copy.descriptor.digest,
        ]

    def test_what_was_pushed_once_is_no_copy(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord]
    ) -> None:
        manifest(b"copy", cached=True)
        for is_copy in (True, False, True):
            manifest(b"both", cached=is_copy)

        copies = {record.descriptor.digest: record.cached for record in repositories.manifests("app")}

        assert copies == {Digest.of(b"copy"): True, Digest.of(b"both"): False}

    def test_it_is_told_when_a_manifest_was_last_of_use(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        record = manifest(b"m")
        clock.now += 3600
        assert repositories.use("app", record.descriptor.digest)

        (found,) = repositories.manifests("app")

        assert found.used == datetime.fromtimestamp(clock.now, UTC)

    def test_a_tag_that_moved_is_not_retired(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        one = manifest(b"one", "v1")
        tag = repositories.tag("app", "v1")
        assert tag is not None
        clock.now += 3600
        manifest(b"two", "v1")
        clock.now += 3600
        found = repositories.retire("app", tags=[tag], manifests=[one], before=clock.now - 60)

        assert found == ([], [one.descriptor.digest])
        assert [each.name for each in repositories.tags("app")] == ["v1"]

    def test_a_copied_tag_that_was_pushed_since_is_not_retired(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock
    ) -> None:
        manifest(b"one", "v1", cached=True)
        tag = repositories.tag("app", "v1")
        assert tag is not None
        manifest(b"one", "v1")

        assert repositories.retire("app", tags=[tag], before=clock.now + 60) == ([], [])

        tag = repositories.tag("app", "v1")
        assert tag is not None
        assert repositories.retire("app", tags=[tag], before=clock.now + 60) == (["v1"], [])

    @pytest.mark.parametrize("what", ["pushed again", "used"])
    def test_what_came_to_be_of_use_is_not_retired(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord], clock: Clock, what: str
    ) -> None:
        record = manifest(b"m", "v1")
        tag = repositories.tag("app", "v1")
        assert tag is not None
        clock.now += 3600
        if what == "used":
            assert repositories.use("app", record.descriptor.digest)
        else:
            manifest(b"m")
        clock.now += 30

        assert repositories.retire("app", tags=[tag], manifests=[record], before=clock.now - 60) == ([], [])
        assert repositories.tag("app", "v1") is not None

    def test_every_change_gives_another_version(
        self, repositories: Repositories, blob: Callable[..., Digest], manifest: Callable[..., ManifestRecord]
    ) -> None:
        seen = [repositories.version()]

        def changed() -> None:
            version = repositories.version()
            assert version not in seen
            seen.append(version)

        digest = blob(b"layer")
        changed()
        repositories.mount("app", "other", digest)
        changed()
        record = manifest(b"m", "v1")
        changed()
        repositories.note_pulled(
            [Pull(repository="app", digest=record.descriptor.digest, when=1.0, tag="v1")]
        )
        changed()
        repositories.untag("app", "v1")
        changed()
        repositories.delete_manifest("app", record.descriptor.digest)
        changed()
        repositories.delete_blob("app", digest)
        changed()
        repositories.forget("other")
        changed()

    @pytest.mark.slow
    def test_of_pushes_of_one_tag_at_once_one_wins_whole(
        self, repositories: Repositories, manifest: Callable[..., ManifestRecord]
    ) -> None:
        errors: list[BaseException] = []

        def push(number: int) -> None:
            try:
                for turn in range(5):
                    manifest(b"%d of %d" % (turn, number), "latest", f"own-{number}")
            except BaseException as error:  # noqa: BLE001 - told below
                errors.append(error)

        threads = [threading.Thread(target=push, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert errors == []
        tag = repositories.tag("app", "latest")
        assert tag is not None
        assert tag.descriptor.digest in {Digest.of(b"4 of %d" % number) for number in range(8)}
        assert len(repositories.manifests("app")) == 40
        for number in range(8):
            own = repositories.tag("app", f"own-{number}")
            assert own is not None
            assert own.descriptor.digest == Digest.of(b"4 of %d" % number)
