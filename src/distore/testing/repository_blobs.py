"""The contract of repositories: which there are, and the blobs that they offer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.oci.digest import Digest
from distore.repositories import ManifestRecord, Pull
from distore.testing.repository_contract import NOWHERE, RepositoryContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.repositories import Repositories


class RepositoryBlobs(RepositoryContract):
    """Repositories and blobs."""

    def test_at_first_there_is_nothing(self, repositories: Repositories) -> None:
        assert repositories.names() == []
        assert not repositories.exists("app")
        assert not repositories.is_cached("app")
        assert not repositories.has("app", NOWHERE)
        assert not repositories.use("app", NOWHERE)
        assert repositories.manifest("app", NOWHERE) is None
        assert repositories.manifests("app") == []
        assert repositories.tag("app", "v1") is None
        assert repositories.tags("app") == []
        assert repositories.referrers("app", NOWHERE) == []
        assert repositories.usage("app") is None
        assert repositories.size() == 0
        assert repositories.owners(NOWHERE) == []

    def test_nothing_can_be_taken_from_what_is_not_there(self, repositories: Repositories) -> None:
        assert not repositories.mount("app", "other", NOWHERE)
        assert not repositories.mount(None, "other", NOWHERE)
        assert not repositories.untag("app", "v1")
        assert not repositories.delete_manifest("app", NOWHERE)
        assert not repositories.delete_blob("app", NOWHERE)
        assert not repositories.forget("app")
        assert repositories.retire("app", before=0.0) == ([], [])
        repositories.note_checked("app", "v1", 1.0)
        repositories.note_pulled([Pull(repository="app", digest=NOWHERE, when=1.0, tag="v1")])
        assert repositories.names() == []

    def test_a_repository_is_there_from_its_first_blob_on(
        self, repositories: Repositories, blob: Callable[..., Digest]
    ) -> None:
        digest = blob(b"layer")

        assert repositories.exists("app")
        assert repositories.has("app", digest)
        assert not repositories.has("other", digest)

    def test_names_are_in_the_order_of_their_bytes_and_begin_behind_one(
        self, repositories: Repositories, blob: Callable[..., Digest]
    ) -> None:
        for name in ("b", "a/c", "a", "a-b", "a.b", "a_b", "a/b", "a0"):
            blob(b"x", name)

        assert repositories.names() == ["a", "a-b", "a.b", "a/b", "a/c", "a0", "a_b", "b"]
        assert repositories.names(after="a/b", limit=2) == ["a/c", "a0"]
        assert repositories.names(after="a/bb", limit=1) == ["a/c"]
        assert repositories.names(limit=0) == []

    def test_who_made_a_repository_says_whether_it_is_a_cache(
        self, repositories: Repositories, blob: Callable[..., Digest], manifest: Callable[..., ManifestRecord]
    ) -> None:
        blob(b"x", "hub/redis", cached=True)
        blob(b"y", "hub/redis")
        blob(b"x", "own")
        manifest(b"m", repository="own", cached=True)

        assert (repositories.is_cached("hub/redis"), repositories.is_cached("own")) == (True, False)

    def test_an_emptied_repository_stays_until_it_is_forgotten(
        self, repositories: Repositories, blob: Callable[..., Digest]
    ) -> None:
        repositories.delete_blob("app", blob(b"layer"))
        assert repositories.names() == ["app"]

        assert repositories.forget("app")
        assert repositories.names() == []

    def test_forgetting_takes_everything_of_one_repository(
        self, repositories: Repositories, blob: Callable[..., Digest], manifest: Callable[..., ManifestRecord]
    ) -> None:
        digest = blob(b"layer")
        subject = manifest(b"m", "v1", children=((digest, 5),)).descriptor.digest
        manifest(b"s", subject=subject)
        blob(b"layer", "application")

        assert repositories.forget("app")

        assert not repositories.has("app", digest)
        assert repositories.tags("app") == []
        assert repositories.manifests("app") == []
        assert repositories.referrers("app", subject) == []
        assert repositories.usage("app") is None
        assert repositories.has("application", digest)

    def test_adding_a_blob_twice_is_adding_it_once(
        self, repositories: Repositories, blob: Callable[..., Digest]
    ) -> None:
        blob(b"layer")
        blob(b"layer")

        usage = repositories.usage("app")
        assert usage is not None
        assert (usage.blobs, usage.size) == (1, 5)

    def test_a_blob_is_mounted_from_the_repository_that_offers_it(
        self, repositories: Repositories, blob: Callable[..., Digest]
    ) -> None:
        digest = blob(b"layer")

        assert repositories.mount("app", "other", digest)
        assert not repositories.mount("nobody", "third", digest)
        assert repositories.owners(digest) == ["app", "other"]
        assert not repositories.exists("third")

    def test_a_blob_is_mounted_from_wherever_it_is(
        self, repositories: Repositories, blob: Callable[..., Digest]
    ) -> None:
        digest = blob(b"layer")

        assert repositories.mount(None, "other", digest)
        assert repositories.has("other", digest)
        usage = repositories.usage("other")
        assert usage is not None
        assert usage.size == 5

    def test_a_blob_is_deleted_from_one_repository_alone(
        self, repositories: Repositories, blob: Callable[..., Digest]
    ) -> None:
        digest = blob(b"layer")
        blob(b"layer", "other")

        assert repositories.delete_blob("app", digest)
        assert not repositories.delete_blob("app", digest)
        assert repositories.owners(digest) == ["other"]

    def test_bytes_are_counted_once_however_many_offer_them(
        self, repositories: Repositories, blob: Callable[..., Digest], manifest: Callable[..., ManifestRecord]
    ) -> None:
        blob(b"layer")
        blob(b"layer", "other")
        blob(b"seven!!", "other")
        manifest(b"mm", "v1", "v2")

        assert repositories.size() == 14
        assert repositories.size(["app"]) == 7
        assert repositories.size(["other", "app", "nobody"]) == 14
        assert repositories.size([]) == 0
        usage = repositories.usage("app")
        assert usage is not None
        assert (usage.blobs, usage.manifests, usage.tags, usage.size) == (2, 1, 2, 7)
