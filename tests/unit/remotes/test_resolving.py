"""Tags and digests to descriptors: what is asked, and what is believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from distore.errors import (
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.oci.reference import Reference
from distore.registry.message import Handler, Request, Response
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.options import RegistryOptions
from distore.testing import server
from distore.testing.server import FakeRegistry, Fault

OTHER = Digest.of(b"other")
INDEX = b'{"schemaVersion": 2, "manifests": []}'


@pytest.fixture
def resolver() -> Iterator[HttpResolver]:
    with HttpResolver(RegistryOptions()) as made:
        yield made


@pytest.fixture
def root(registry: FakeRegistry) -> Descriptor:
    """What ``demo:latest`` is."""
    return registry.tag("demo", "latest", INDEX, mediatypes.OCI_INDEX)


@pytest.fixture
def resolve(registry: FakeRegistry, resolver: HttpResolver) -> Callable[..., Descriptor]:
    def ask(rest: str = ":latest") -> Descriptor:
        return resolver.resolve(Reference.parse(f"{registry.address}/demo{rest}", default_tag=None))

    return ask


def asked(registry: FakeRegistry) -> list[str]:
    return [seen.method for seen in registry.requests]


def without(*names: str) -> Fault:
    """The right answer without some of its headers."""

    def act(request: Request, handler: Handler) -> Response:
        response = handler(request)
        return replace(
            response, headers={k: v for k, v in response.headers.items() if k.lower() not in names}
        )

    return act


def test_a_head_is_enough(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor]
) -> None:
    assert resolve() == root

    assert asked(registry) == ["HEAD"]
    accepted = registry.requests[0].headers["accept"]
    assert all(kind in accepted for kind in (*mediatypes.MANIFESTS, *mediatypes.INDEXES))


@pytest.mark.parametrize(
    "fault",
    [
        without("docker-content-digest"),
        without("content-type"),
        server.with_headers(content_type="application/octet-stream"),
        server.with_headers(content_type="application/json; charset=utf-8"),
        *(server.refuse(status) for status in (400, 403, 405, 406, 501)),
    ],
)
def test_a_head_that_does_not_tell_enough_is_followed_by_a_get(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor], fault: Fault
) -> None:
    registry.inject(fault, method="HEAD")

    assert resolve() == root

    assert asked(registry) == ["HEAD", "GET"]


def test_a_get_that_does_not_say_its_type_is_read_by_what_it_has(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor]
) -> None:
    registry.inject(without("docker-content-digest", "content-type"), times=None)

    assert resolve() == root


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthenticated), (404, NotFound), (429, Unavailable), (500, Unavailable), (503, Unavailable)],
)
def test_a_head_that_settles_it_is_not_repeated(
    registry: FakeRegistry,
    root: Descriptor,
    resolve: Callable[..., Descriptor],
    status: int,
    kind: type[Exception],
) -> None:
    registry.inject(server.refuse(status), times=None)

    with pytest.raises(kind):
        resolve()

    assert asked(registry) == ["HEAD"]


def test_a_refusal_of_both_is_the_refusal_of_the_get(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor]
) -> None:
    registry.inject(server.refuse(403, "DENIED", "not for you"), times=None)

    with pytest.raises(PermissionDenied, match=r"demo:latest: .* answered 403: denied not for you"):
        resolve()


def test_a_digest_is_resolved_too(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor]
) -> None:
    assert resolve(f"@{root.digest}") == root
    assert resolve(f":whatever@{root.digest}") == root

    registry.inject(without("docker-content-digest"))

    assert resolve(f"@{root.digest}") == root  # nobody need say it
    assert asked(registry) == ["HEAD"] * 3


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_another_digest_than_the_one_asked_for_is_refused(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor], method: str
) -> None:
    if method == "GET":
        registry.inject(server.refuse(405), method="HEAD", times=None)
        registry.inject(server.other_bytes())
    else:
        registry.inject(server.claim_digest(OTHER))

    with pytest.raises(DigestMismatch, match=str(root.digest)):
        resolve(f"@{root.digest}")


def test_a_digest_of_another_algorithm_says_nothing_about_the_one_asked_for(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor]
) -> None:
    registry.inject(server.claim_digest(Digest.of(INDEX, algorithm="sha512")))

    assert resolve(f"@{root.digest}") == root


def test_a_get_whose_bytes_are_not_those_claimed_is_refused(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor]
) -> None:
    registry.inject(server.refuse(405), method="HEAD")
    registry.inject(server.claim_digest(OTHER))

    with pytest.raises(DigestMismatch, match=f"expected {OTHER}, got {root.digest}"):
        resolve()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_claim_that_is_no_digest_is_refused(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor], method: str
) -> None:
    if method == "GET":
        registry.inject(server.refuse(405), method="HEAD")
    registry.inject(server.claim_digest("sha256:nonsense"))

    with pytest.raises(FailedPrecondition, match="docker-content-digest: digest"):
        resolve()


@pytest.mark.parametrize("status", [200, 405])
def test_schema_1_is_refused_by_head_and_by_get(
    registry: FakeRegistry, resolve: Callable[..., Descriptor], status: int
) -> None:
    registry.tag("demo", "latest", b'{"schemaVersion": 1}', mediatypes.DOCKER_SCHEMA1_SIGNED)
    if status != 200:
        registry.inject(server.refuse(status), method="HEAD")

    with pytest.raises(FailedPrecondition, match="schema 1, which no current tool makes"):
        resolve()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_manifest_over_the_limit_is_refused(
    registry: FakeRegistry, resolve: Callable[..., Descriptor], method: str
) -> None:
    registry.tag("demo", "latest", b" " * (MAX_MANIFEST_SIZE + 1), mediatypes.OCI_INDEX)
    if method == "GET":
        registry.inject(server.refuse(405), method="HEAD")

    with pytest.raises(ResourceExhausted, match=f"the limit is {MAX_MANIFEST_SIZE}"):
        resolve()

    assert registry.bytes_sent < 2 * MAX_MANIFEST_SIZE


def test_a_page_of_a_web_server_is_no_manifest(
    registry: FakeRegistry, root: Descriptor, resolve: Callable[..., Descriptor]
) -> None:
    page = b"<html>log in first</html>"

    def login(request: Request, handler: Handler) -> Response:
        handler(request).close()
        return Response(status=200, headers={"content-type": "text/html"}, body=page)

    registry.inject(login, times=None)

    with pytest.raises(InvalidArgument, match="demo:latest: not JSON"):
        resolve()


def test_a_type_that_belies_the_document_is_refused(
    registry: FakeRegistry, resolve: Callable[..., Descriptor]
) -> None:
    document = json.dumps({"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []})
    registry.tag("demo", "latest", document.encode(), mediatypes.OCI_MANIFEST)
    registry.inject(without("docker-content-digest"))

    with pytest.raises(InvalidArgument, match="its descriptor says"):
        resolve()


def test_a_reference_without_an_object_is_refused(resolve: Callable[..., Descriptor]) -> None:
    with pytest.raises(InvalidArgument, match="want a tag or a digest"):
        resolve("")


class TestMirrors:
    """``registry`` is a mirror of ``origin``."""

    @pytest.fixture
    def origin(self) -> Iterator[FakeRegistry]:
        with FakeRegistry() as server:
            yield server

    @pytest.fixture
    def resolve(
        self, registry: FakeRegistry, origin: FakeRegistry, tmp_path: Path
    ) -> Iterator[Callable[[], Descriptor]]:
        folder = tmp_path / "reg.example"
        folder.mkdir()
        (folder / "hosts.toml").write_text(f'server = "{origin.url}"\n[host."{registry.url}"]\n')
        with HttpResolver(RegistryOptions(hosts_dir=str(tmp_path))) as resolver:
            yield lambda: resolver.resolve(Reference.parse("reg.example/demo:latest"))

    def test_what_a_mirror_lacks_the_registry_has(
        self, registry: FakeRegistry, origin: FakeRegistry, resolve: Callable[[], Descriptor]
    ) -> None:
        root = origin.tag("demo", "latest", INDEX, mediatypes.OCI_INDEX)

        assert resolve() == root

        assert (asked(registry), asked(origin)) == (["HEAD"], ["HEAD"])
        assert registry.requests[0].query == {"ns": "reg.example"}

    def test_a_mirror_that_died_is_not_asked_the_next_time(
        self, registry: FakeRegistry, origin: FakeRegistry, resolve: Callable[[], Descriptor]
    ) -> None:
        root = origin.tag("demo", "latest", INDEX, mediatypes.OCI_INDEX)
        registry.inject(server.unavailable(), times=None)

        assert (resolve(), resolve()) == (root, root)

        assert (asked(registry), asked(origin)) == (["HEAD"], ["HEAD", "HEAD"])

    def test_a_mirror_that_is_gone_is_passed_over(
        self, registry: FakeRegistry, origin: FakeRegistry, resolve: Callable[[], Descriptor]
    ) -> None:
        root = origin.tag("demo", "latest", INDEX, mediatypes.OCI_INDEX)
        registry.stop()

        assert resolve() == root

    def test_a_mirror_that_is_busy_is_asked_the_next_time(
        self, registry: FakeRegistry, origin: FakeRegistry, resolve: Callable[[], Descriptor]
    ) -> None:
        origin.tag("demo", "latest", INDEX, mediatypes.OCI_INDEX)
        registry.inject(server.throttled(1), times=None)

        resolve(), resolve()

        assert asked(registry) == ["HEAD", "HEAD"]

    def test_a_404_of_the_mirror_and_a_503_of_the_registry_may_work_later(
        self, registry: FakeRegistry, origin: FakeRegistry, resolve: Callable[[], Descriptor]
    ) -> None:
        origin.inject(server.unavailable(), times=None)

        for _ in range(2):
            with pytest.raises(Unavailable, match="answered 503"):
                resolve()

    def test_a_503_of_the_mirror_and_a_404_of_the_registry_is_not_found(
        self, registry: FakeRegistry, origin: FakeRegistry, resolve: Callable[[], Descriptor]
    ) -> None:
        registry.inject(server.unavailable(), times=None)

        for _ in range(2):
            with pytest.raises(NotFound):
                resolve()

    def test_all_dead_is_unavailable(
        self, registry: FakeRegistry, origin: FakeRegistry, resolve: Callable[[], Descriptor]
    ) -> None:
        registry.stop()
        origin.stop()

        with pytest.raises(Unavailable, match=f"{origin.address}: cannot connect"):
            resolve()
