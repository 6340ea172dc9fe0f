"""HttpRepository: tags, referrers, the catalog, and what is deleted."""

from __future__ import annotations

import json

import pytest
from tests.unit.remotes.pushing import Clients

from distore.errors import (
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.message import Response
from distore.remotes.http.repository import HttpRepository, catalog, fallback_tag
from distore.remotes.resolver import Target
from distore.testing import server
from distore.testing.server import FakeRegistry

SUBJECT = Digest.of(b"subject")


@pytest.fixture
def demo(clients: Clients, registry: FakeRegistry) -> HttpRepository:
    return clients.repository(f"{registry.address}/demo")


def about(registry: FakeRegistry, kind: str, number: int = 0) -> Digest:
    """A manifest that refers to SUBJECT."""
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "artifactType": kind,
        "config": {"mediaType": mediatypes.OCI_EMPTY, "digest": Digest.of(b"{}"), "size": 2},
        "layers": [],
        "subject": {"mediaType": mediatypes.OCI_MANIFEST, "digest": SUBJECT, "size": 7},
        "annotations": {"number": str(number)},
    }
    return registry.tag("demo", f"tag{number}", json.dumps(document).encode()).digest


def entry(digest: Digest, kind: str | None) -> Descriptor:
    return Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=1, artifact_type=kind)


def index(*entries: Descriptor) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [one.to_json() for one in entries],
        }
    ).encode()


def test_ten_thousand_tags_come_page_by_page(demo: HttpRepository, registry: FakeRegistry) -> None:
    descriptor = registry.tag("demo", "v", b"{}")
    names = [f"v{number:05}" for number in range(10_000)]
    registry.repositories["demo"] = dict.fromkeys(names, descriptor)

    assert list(demo.tags()) == names

    assert len(registry.seen("/tags/list")) == 10
    assert {seen.query["n"] for seen in registry.requests} == {"1000"}


def test_a_repository_that_is_not_there_has_no_tags(demo: HttpRepository) -> None:
    with pytest.raises(NotFound, match=r"tags of .*/demo: not found"):
        list(demo.tags())


def test_repositories_are_listed_by_the_catalog(clients: Clients, registry: FakeRegistry) -> None:
    for name in ("a", "b/c", "d"):
        registry.put(name, b"x")

    found = catalog(clients.client(f"{registry.address}/none"), registry.address)

    assert list(found) == ["a", "b/c", "d"]


def test_the_catalog_asks_for_a_token_of_its_own(clients: Clients) -> None:
    with FakeRegistry(with_tokens=True) as registry:
        registry.put("a", b"x")

        assert list(catalog(clients.client(f"{registry.address}/none"), registry.address)) == ["a"]

        assert "registry:catalog:*" in registry.seen("/token")[0].query["scope"]


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, Unauthenticated), (403, PermissionDenied), (404, NotFound), (405, Unimplemented)],
)
def test_a_registry_without_a_catalog_says_so(
    status: int, error: type[DistoreError], clients: Clients, registry: FakeRegistry
) -> None:
    registry.inject(server.refuse(status), times=None)

    with pytest.raises(error, match="catalog of"):
        list(catalog(clients.client(f"{registry.address}/none"), registry.address))


def test_referrers_come_from_the_api(demo: HttpRepository, registry: FakeRegistry) -> None:
    one, two = about(registry, "a/sbom", 1), about(registry, "a/signature", 2)

    found = {descriptor.digest: descriptor for descriptor in demo.referrers(SUBJECT)}

    assert set(found) == {one, two}
    assert found[one].artifact_type == "a/sbom"
    assert found[one].annotations == {"number": "1"}
    assert registry.requests[0].headers["accept"] == mediatypes.OCI_INDEX


def test_referrers_of_one_type_are_asked_for_and_compared_here_too(
    demo: HttpRepository, registry: FakeRegistry
) -> None:
    one = about(registry, "a/sbom", 1)
    about(registry, "a/signature", 2)

    assert [found.digest for found in demo.referrers(SUBJECT, artifact_type="a/sbom")] == [one]
    assert registry.requests[-1].query == {"artifactType": "a/sbom"}

    everything = index(entry(one, "a/sbom"), entry(Digest.of(b"x"), "a/other"), entry(Digest.of(b"y"), None))
    registry.inject(lambda request, handler: Response(status=200, body=everything))
    assert [found.digest for found in demo.referrers(SUBJECT, artifact_type="a/sbom")] == [one]


def test_referrers_come_page_by_page(clients: Clients) -> None:
    with FakeRegistry(page=3) as registry:
        digests = {about(registry, "a/sbom", number) for number in range(10)}
        demo = clients.repository(f"{registry.address}/demo")

        assert {found.digest for found in demo.referrers(SUBJECT, artifact_type="a/sbom")} == digests
        assert len(registry.seen("/referrers/")) == 4


def test_nothing_refers_is_no_error(demo: HttpRepository, registry: FakeRegistry) -> None:
    registry.put("demo", b"x")

    assert list(demo.referrers(SUBJECT)) == []
    assert len(registry.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 405])
def test_without_the_api_referrers_come_from_the_tag(
    status: int, demo: HttpRepository, registry: FakeRegistry
) -> None:
    digests = [Digest.of(name) for name in (b"a", b"b")]
    entries = [entry(digests[0], "a/sbom"), entry(digests[1], "a/signature")]
    registry.tag("demo", fallback_tag(SUBJECT), index(*entries), mediatypes.OCI_INDEX)
    registry.inject(server.refuse(status), path="/referrers/", times=None)

    assert [found.digest for found in demo.referrers(SUBJECT)] == digests
    assert [found.digest for found in demo.referrers(SUBJECT, artifact_type="a/sbom")] == digests[:1]


def test_without_the_api_and_the_tag_nothing_refers(clients: Clients) -> None:
    with FakeRegistry(referrers=False) as registry:
        registry.put("demo", b"x")

        assert list(clients.repository(f"{registry.address}/demo").referrers(SUBJECT)) == []


def test_a_later_page_that_fails_is_an_error_and_not_another_list(clients: Clients) -> None:
    with FakeRegistry(page=3) as registry:
        for number in range(5):
            about(registry, "a/sbom", number)
        registry.tag("demo", fallback_tag(SUBJECT), index(entry(SUBJECT, "a/sbom")), mediatypes.OCI_INDEX)
        found = clients.repository(f"{registry.address}/demo").referrers(SUBJECT)
        first = [next(found).digest for _ in range(3)]
        registry.inject(server.refuse(404), path="/referrers/")

        with pytest.raises(NotFound):
            list(found)

        assert SUBJECT not in first


@pytest.mark.parametrize("body", [b"{}", b'{"schemaVersion": 2, "manifests": [{}]}', b"[]", b"<html>"])
def test_an_answer_that_is_no_index_is_an_error_about_the_registry(
    body: bytes, demo: HttpRepository, registry: FakeRegistry
) -> None:
    registry.inject(lambda request, handler: Response(status=200, body=body))

    with pytest.raises(FailedPrecondition, match=f"referrers of .*/demo@{SUBJECT}"):
        list(demo.referrers(SUBJECT))


def test_a_busy_registry_is_asked_again_for_referrers(
    demo: HttpRepository, registry: FakeRegistry, clients: Clients
) -> None:
    one = about(registry, "a/sbom")
    registry.inject(server.throttled(2), path="/referrers/")

    assert [found.digest for found in demo.referrers(SUBJECT)] == [one]
    assert clients.naps == [2.0]


def test_a_tag_is_deleted_and_nothing_else(demo: HttpRepository, registry: FakeRegistry) -> None:
    descriptor = registry.tag("demo", "v1", b"{}")
    registry.tag("demo", "v2", b"{}")

    demo.delete(Target(tag="v1"))

    assert registry.repositories["demo"] == {"v2": descriptor}
    assert registry.has("demo", descriptor.digest)


def test_a_manifest_is_deleted_with_its_tags(demo: HttpRepository, registry: FakeRegistry) -> None:
    descriptor = registry.tag("demo", "v1", b"{}")

    demo.delete(Target(digest=descriptor.digest))

    assert registry.repositories["demo"] == {}
    assert not registry.has("demo", descriptor.digest)


def test_a_digest_that_is_no_manifest_is_deleted_as_a_blob(
    demo: HttpRepository, registry: FakeRegistry
) -> None:
    digest = registry.put("demo", b"blob")

    demo.delete(Target(digest=digest))

    assert not registry.has("demo", digest)
    assert [seen.path for seen in registry.requests] == [
        f"/v2/demo/manifests/{digest}",
        f"/v2/demo/blobs/{digest}",
    ]


@pytest.mark.parametrize("target", [Target(tag="none"), Target(digest=SUBJECT)])
def test_what_is_not_there_cannot_be_deleted(target: Target, demo: HttpRepository) -> None:
    with pytest.raises(NotFound, match=target.name):
        demo.delete(target)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, InvalidArgument), (403, PermissionDenied), (405, Unimplemented), (503, Unavailable)],
)
def test_a_registry_that_deletes_nothing_says_so(
    status: int, error: type[DistoreError], demo: HttpRepository, registry: FakeRegistry
) -> None:
    descriptor = registry.tag("demo", "v1", b"{}")
    registry.inject(server.refuse(status))

    with pytest.raises(error, match=f"demo@{descriptor.digest}"):
        demo.delete(Target(digest=descriptor.digest))

    assert registry.has("demo", descriptor.digest)


def test_deleting_asks_for_a_token_that_may(clients: Clients) -> None:
    with FakeRegistry(with_tokens=True) as registry:
        registry.tag("demo", "v1", b"{}")

        clients.repository(f"{registry.address}/demo").delete(Target(tag="v1"))

        assert "delete" in registry.seen("/token")[0].query["scope"]
        assert registry.repositories["demo"] == {}
