"""HttpFetcher: where it looks, what it sends, what it believes, and how it says no."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from distore._internal.retry import retry_after
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
from distore.oci.digest import Digest
from distore.registry.message import Response
from distore.remotes.http.errors import MAX_ERROR_BODY
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.options import RegistryOptions
from distore.remotes.resolver import Target
from distore.testing import server
from distore.testing.server import FakeRegistry

Connect = Callable[..., HttpFetcher]
BODY = b"0123456789" * 1000
MANIFEST = b'{"schemaVersion": 2, "config": {}, "layers": []}'


def read(fetcher: HttpFetcher, target: Target, **options: object) -> bytes:
    with fetcher.open(target, **options) as stream:  # type: ignore[arg-type] # as given
        pieces = []
        while piece := stream.read(1 << 20):
            pieces.append(piece)
        return b"".join(pieces)


def asked(registry: FakeRegistry) -> list[str]:
    return [seen.path.removeprefix("/v2/demo/").partition("/")[0] for seen in registry.requests]


@pytest.fixture
def demo(registry: FakeRegistry, connect: Connect) -> HttpFetcher:
    registry.repositories["demo"] = {}
    return connect(f"{registry.address}/demo")


@pytest.fixture
def mirrored(registry: FakeRegistry, gated: FakeRegistry, connect: Connect, tmp_path: Path) -> HttpFetcher:
    """``example.com/demo``: first from ``registry``, then from ``gated``, which wants a token."""
    (tmp_path / "example.com").mkdir()
    (tmp_path / "example.com" / "hosts.toml").write_text(f'server = "{gated.url}"\n[host."{registry.url}"]\n')
    registry.repositories["demo"] = gated.repositories["demo"] = {}
    return connect("example.com/demo", options=RegistryOptions(hosts_dir=str(tmp_path)))


def test_a_digest_is_a_blob_first_and_then_a_manifest(registry: FakeRegistry, demo: HttpFetcher) -> None:
    registry.inject(server.refuse(404), path="/blobs/")

    assert read(demo, Target(digest=registry.put("demo", MANIFEST))) == MANIFEST

    assert asked(registry) == ["blobs", "manifests"]


@pytest.mark.parametrize(
    "media_type", [mediatypes.OCI_MANIFEST, mediatypes.DOCKER_INDEX, mediatypes.DOCKER_SCHEMA1_SIGNED]
)
def test_a_manifest_s_media_type_makes_it_a_manifest_first(
    registry: FakeRegistry, demo: HttpFetcher, media_type: str
) -> None:
    registry.inject(server.refuse(404), path="/manifests/")
    target = Target(digest=registry.put("demo", MANIFEST), media_type=media_type)

    assert read(demo, target) == MANIFEST

    assert asked(registry) == ["manifests", "blobs"]
    assert {seen.headers["accept"] for seen in registry.requests} == {media_type}


def test_a_tag_is_a_manifest_of_any_kind(registry: FakeRegistry, demo: HttpFetcher) -> None:
    registry.tag("demo", "latest", MANIFEST)

    assert read(demo, Target(tag="latest")) == MANIFEST

    assert asked(registry) == ["manifests"]
    accepted = registry.requests[0].headers["accept"].split(", ")
    assert sorted(accepted) == sorted((*mediatypes.MANIFESTS, *mediatypes.INDEXES, "*/*;q=0.1"))


def test_a_stream_tells_what_the_server_says(registry: FakeRegistry, demo: HttpFetcher) -> None:
    described = registry.tag("demo", "latest", MANIFEST, mediatypes.DOCKER_MANIFEST)

    with demo.open(Target(tag="latest")) as stream:
        assert (stream.offset, stream.size) == (0, len(MANIFEST))
        assert (stream.media_type, stream.digest) == (mediatypes.DOCKER_MANIFEST, described.digest)
        assert stream.validator == f'"{described.digest}"'
        assert registry.address in stream.source


def test_what_is_nowhere_is_not_found_and_every_server_named(
    registry: FakeRegistry, gated: FakeRegistry, mirrored: HttpFetcher
) -> None:
    digest = Digest.of(b"other")

    with pytest.raises(NotFound) as caught:
        mirrored.open(Target(digest=digest))

    assert (
        str(caught.value)
        == f"example.com/demo@{digest}: not found (asked {registry.address}, {gated.address})"
    )


def test_the_next_server_is_asked_for_what_the_first_lacks(
    registry: FakeRegistry, gated: FakeRegistry, mirrored: HttpFetcher
) -> None:
    assert read(mirrored, Target(digest=gated.put("demo", BODY))) == BODY

    assert asked(registry) == ["blobs", "manifests"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 416, 418, 429, 500, 503])
def test_the_next_server_is_asked_when_the_first_cannot(
    registry: FakeRegistry, gated: FakeRegistry, mirrored: HttpFetcher, status: int
) -> None:
    registry.inject(server.refuse(status), times=None)

    assert read(mirrored, Target(digest=gated.put("demo", BODY))) == BODY


def test_a_server_that_is_gone_is_passed_over(
    registry: FakeRegistry, gated: FakeRegistry, mirrored: HttpFetcher
) -> None:
    registry.stop()

    assert read(mirrored, Target(digest=gated.put("demo", BODY))) == BODY


def test_mirrors_are_told_for_whom_they_are_asked(registry: FakeRegistry, mirrored: HttpFetcher) -> None:
    read(mirrored, Target(digest=registry.put("demo", BODY)))

    assert registry.requests[0].query == {"ns": "example.com"}


def test_only_servers_that_may_are_asked(registry: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "hosts.toml").write_text(f'server = "{registry.url}"\ncapabilities = ["push"]\n')
    fetcher = connect("example.com/demo", options=RegistryOptions(hosts_dir=str(tmp_path)))

    with pytest.raises(FailedPrecondition, match=r"demo:latest: no host may 'resolve'; see its hosts\.toml"):
        fetcher.open(Target(tag="latest"))

    assert registry.requests == []


def test_a_part_begins_where_it_was_asked_to(registry: FakeRegistry, demo: HttpFetcher) -> None:
    target = Target(digest=registry.put("demo", BODY))

    with demo.open(target, offset=9990, validator='"x"') as stream:
        assert (stream.offset, stream.size) == (0, len(BODY))  # the validator is another's
    with demo.open(target, offset=9990, validator=f'"{target.digest}"') as stream:
        assert (stream.offset, stream.size) == (9990, len(BODY))
        assert stream.read(100) == BODY[9990:]

    assert registry.requests[1].headers["range"] == "bytes=9990-"
    assert registry.requests[1].headers["if-range"] == f'"{target.digest}"'


def test_a_server_that_ignores_ranges_begins_at_zero(registry: FakeRegistry, demo: HttpFetcher) -> None:
    registry.inject(server.ignore_range())

    with demo.open(Target(digest=registry.put("demo", BODY)), offset=100) as stream:
        assert (stream.offset, stream.size) == (0, len(BODY))


def test_a_part_that_begins_at_the_end_is_empty(registry: FakeRegistry, demo: HttpFetcher) -> None:
    with demo.open(Target(digest=registry.put("demo", BODY)), offset=len(BODY)) as stream:
        assert (stream.offset, stream.size, stream.read(10)) == (len(BODY), len(BODY), b"")


@pytest.mark.parametrize(
    "content_range", ["bytes 0-9999/10000", "bytes 101-9999/10000", "nonsense", "items 100-9999/10000"]
)
def test_a_part_nobody_asked_for_is_not_believed(
    registry: FakeRegistry, demo: HttpFetcher, content_range: str
) -> None:
    registry.inject(server.with_headers(content_range=content_range))
    target = Target(digest=registry.put("demo", BODY))

    with demo.open(target, offset=100) as stream:
        assert (stream.offset, stream.read(5)) == (0, BODY[:5])


def test_an_object_shorter_than_the_part_asked_for_is_read_from_its_start(
    registry: FakeRegistry, demo: HttpFetcher
) -> None:
    assert read(demo, Target(digest=registry.put("demo", BODY)), offset=len(BODY) + 1) == BODY

    assert [seen.status for seen in registry.requests] == [416, 200]


def test_a_body_that_was_compressed_on_the_way_is_decompressed(
    registry: FakeRegistry, demo: HttpFetcher
) -> None:
    registry.inject(server.gzipped(), times=None)
    target = Target(digest=registry.put("demo", BODY), size=len(BODY))

    assert read(demo, target) == BODY
    assert read(demo, target, offset=100) == BODY  # a part of the compressed bytes is of no use

    assert registry.requests[0].headers["accept-encoding"] == "identity"


def test_a_layer_that_is_only_called_compressed_is_left_alone(
    registry: FakeRegistry, demo: HttpFetcher
) -> None:
    registry.inject(server.with_headers(content_encoding="gzip"))

    assert read(demo, Target(digest=registry.put("demo", BODY), size=len(BODY))) == BODY


@pytest.mark.parametrize(
    ("fault", "kind", "why"),
    [
        (server.with_headers(content_encoding="br"), Unimplemented, "sends content-encoding 'br'"),
        (server.with_headers(content_encoding="gzip"), Unavailable, "gzip-encoded answer is damaged"),
        (
            lambda request, handler: Response(
                status=200, headers={"content-encoding": "gzip"}, body=b"\x1f\x8b\x08\0\0\0\0\0\0\0"
            ),
            Unavailable,
            "gzip-encoded answer ends early",
        ),
    ],
)
def test_a_body_that_cannot_be_decoded_is_an_error(
    registry: FakeRegistry, demo: HttpFetcher, fault: server.Fault, kind: type[DistoreError], why: str
) -> None:
    registry.inject(fault)

    with pytest.raises(kind, match=why):
        read(demo, Target(digest=registry.put("demo", BODY)))


def test_a_server_that_calls_its_object_by_no_digest_is_not_believed(
    registry: FakeRegistry, demo: HttpFetcher
) -> None:
    registry.inject(server.claim_digest("md5:0"))

    with pytest.raises(FailedPrecondition, match="docker-content-digest: digest 'md5:0'"):
        demo.open(Target(digest=registry.put("demo", BODY)))


@pytest.mark.parametrize("etag", ['W/"weak"', "bare", '"', '"' + "x" * 300 + '"'])
def test_an_etag_that_promises_nothing_is_no_validator(
    registry: FakeRegistry, demo: HttpFetcher, etag: str
) -> None:
    registry.inject(server.with_headers(etag=etag))

    with demo.open(Target(digest=registry.put("demo", BODY))) as stream:
        assert stream.validator is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidArgument),
        (401, Unauthenticated),
        (403, PermissionDenied),
        (405, Unimplemented),
        (408, Unavailable),
        (418, FailedPrecondition),
        (429, Unavailable),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
def test_a_refusal_is_an_error_of_its_class_that_names_everything(
    registry: FakeRegistry, demo: HttpFetcher, status: int, kind: type[DistoreError]
) -> None:
    registry.inject(server.refuse(status, "DENIED", "Requested access\x1b[31m\nto the resource"))
    digest = registry.put("demo", BODY)

    with pytest.raises(DistoreError) as caught:
        demo.open(Target(digest=digest))

    assert type(caught.value) is kind
    assert str(caught.value) == (
        f"{registry.address}/demo@{digest}: {registry.address} answered {status}:"
        " denied Requested access [31m to the resource"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[" * 60_000,
        b'{"errors": 1}',
        b'{"errors": [1, null]}',
        b"x" * (MAX_ERROR_BODY * 4),
        b'{"errors": [{"code": 1, "message": []}]}',
    ],
    ids=range(7),
)
def test_an_error_body_that_is_no_document_is_left_out(
    registry: FakeRegistry, demo: HttpFetcher, body: bytes
) -> None:
    registry.inject(lambda request, handler: Response(status=403, body=body))

    with pytest.raises(PermissionDenied, match=r"answered 403$"):
        demo.open(Target(tag="latest"))


def test_a_registry_s_own_words_are_cut_short(registry: FakeRegistry, demo: HttpFetcher) -> None:
    registry.inject(server.refuse(403, "DENIED", "very " * 5000))

    with pytest.raises(PermissionDenied) as caught:
        demo.open(Target(tag="latest"))

    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_may_say_when_to_come_again(registry: FakeRegistry, demo: HttpFetcher, status: int) -> None:
    registry.inject(server.refuse(status, retry_after="17"))

    with pytest.raises(Unavailable) as caught:
        demo.open(Target(tag="latest"))

    assert retry_after(caught.value) == 17.0


def test_a_moment_to_come_again_may_be_a_date(registry: FakeRegistry, demo: HttpFetcher) -> None:
    past = format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True)
    future = format_datetime(datetime(9000, 1, 1, tzinfo=UTC), usegmt=True)

    waits = []
    for moment in (past, future, "9" * 18):
        registry.inject(server.throttled(moment))
        with pytest.raises(Unavailable) as caught:
            demo.open(Target(tag="latest"))
        waits.append(retry_after(caught.value))

    assert waits == [0.0, 86400.0, 86400.0]


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "", "9" * 30 + "x", "Mon, 99 Foo 2026 99:99:99 GMT"])
def test_a_moment_that_makes_no_sense_is_none(registry: FakeRegistry, demo: HttpFetcher, text: str) -> None:
    registry.inject(server.throttled(text))

    with pytest.raises(Unavailable) as caught:
        demo.open(Target(tag="latest"))

    assert retry_after(caught.value) is None


def test_one_server_and_repository_may_be_named_by_a_url(registry: FakeRegistry, connect: Connect) -> None:
    target = Target(digest=registry.put("a/b", BODY))

    assert read(connect(f"{registry.address}/a/b", over="http"), target) == BODY


def test_a_server_whose_name_has_no_dot_can_be_named_by_a_url(connect: Connect) -> None:
    assert connect("registry/demo", over="http").repository.name == "registry:80/demo"


def test_a_url_with_a_tag_is_refused(connect: Connect) -> None:
    with pytest.raises(InvalidArgument, match="leave out the tag or digest"):
        connect("registry.example/demo:latest", over="https")
