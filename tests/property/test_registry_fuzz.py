"""Whatever anybody asks a registry, it answers as the specification says, never with a fault of its own."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import string
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distore.content.local.store import LocalStore
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry.app import RegistryServer
from distore.registry.message import BytesBody, Request, Response, Slice
from distore.registry.routes import PushRegistry
from distore.testing.registry_conformance.place import CODES

BLOB = b"{}"
DIGEST = Digest.of(BLOB)
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": {"mediaType": mediatypes.OCI_EMPTY, "digest": DIGEST, "size": 2},
        "layers": [],
        "subject": {"mediaType": mediatypes.OCI_MANIFEST, "digest": DIGEST, "size": 2},
    }
).encode()
NAME = Digest.of(MANIFEST)
PLAIN = "a-b.c/d"
_TOKEN = re.compile(r"[a-z0-9-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
SOUND = (503, 507)  # what a server may say of itself

# Text that is nearly what belongs there, and any other.
odd = st.text(max_size=12) | st.sampled_from(
    ["", ".", "..", "%2e%2e", "\x00", "\ud800", "\udcff", "/", "//", "a" * 300, "\r\n", "sha256:", "🐋", "*"]
)
digests = st.sampled_from(
    [DIGEST, NAME, Digest.of(b"gone"), Digest.of(BLOB, algorithm="sha512"), "sha256:x", "sha256:" + "A" * 64]
)
tags = st.sampled_from(["latest", "1", "-", "a" * 128, "a" * 129, "A_b.c-"])
names = st.sampled_from(["demo", PLAIN, "gone", "UPPER", "a//b", "blobs", "blobs/uploads", "_catalog"]) | odd
lasts = (
    digests
    | tags
    | odd
    | st.sampled_from(["list", "uploads", "uploads/", "uploads/00-00", f"uploads/{NAME}"])
)
kinds = st.sampled_from(["blobs", "manifests", "tags", "referrers", "blobs/uploads", "uploads"]) | odd
paths = st.one_of(
    st.builds("/v2/{}/{}/{}".format, names, kinds, lasts),
    st.builds("/v2/{}".format, odd),
    st.sampled_from(["/v2", "/v2/", "/v2/_catalog", "/", "", "v2", "/v2/_catalog/"]),
    odd,
)
methods = st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "BREW", ""])
keys = st.sampled_from(
    ["digest", "mount", "from", "n", "last", "artifactType", "tag", "digest-algorithm", "ns", "_state"]
)
values = (
    digests
    | names
    | odd
    | st.integers(-2, 10**12).map(str)
    | st.sampled_from(["sha512", "sha384", "md5", mediatypes.OCI_EMPTY, "9" * 30])
)
queries = st.lists(st.tuples(keys, values), max_size=4)
ranges = st.builds(
    "{}{}-{}{}".format,
    st.sampled_from(["", "bytes=", "bytes "]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(["", "/*", "/10", ",1-2"]),
)
media_types = st.sampled_from([mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX])
headers = st.dictionaries(
    st.sampled_from(
        [
            "range",
            "if-range",
            "if-none-match",
            "content-range",
            "content-length",
            "content-type",
            "accept",
            "x",
        ]
    ),
    ranges
    | odd
    | st.integers(-5, 10**20).map(str)
    | st.sampled_from(
        [mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX, f'"{DIGEST}"', "*", "bytes=-0", "bytes=99-"]
    ),
    max_size=3,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | odd | digests | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd, inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(
    st.sampled_from(
        [
            "schemaVersion",
            "mediaType",
            "config",
            "layers",
            "manifests",
            "subject",
            "annotations",
            "artifactType",
        ]
    ),
    json_values
    | st.sampled_from([2, [], {}, mediatypes.OCI_MANIFEST, mediatypes.OCI_INDEX])
    | st.just({"mediaType": mediatypes.OCI_EMPTY, "digest": DIGEST, "size": 2}),
).map(lambda document: json.dumps(document).encode())
edited = st.builds(
    lambda name, value: json.dumps({**json.loads(MANIFEST), name: value}).encode(),
    st.sampled_from(["layers", "config", "subject", "annotations", "artifactType", "mediaType", "x"]),
    json_values,
)
bodies = edited | st.binary(max_size=20) | st.sampled_from([b"", BLOB, MANIFEST]) | documents


class Asked(NamedTuple):
    """A request, before it is one."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes

    def request(self) -> Request:
        every: dict[str, tuple[str, ...]] = {}
        for name, value in self.query:
            every[name] = (*every.get(name, ()), value)
        return Request(
            method=self.method,
            path=self.path,
            query={name: found[0] for name, found in every.items()},
            repeated={name: found for name, found in every.items() if len(found) > 1},
            headers=self.headers,
            body=BytesBody(self.body),
        )


def asks(method: str, path: st.SearchStrategy[str], keys: Sequence[str] = ()) -> st.SearchStrategy[Asked]:
    """Requests that fit an endpoint, but for what they say."""
    query = st.lists(st.tuples(st.sampled_from([*keys, "ns"]), values), max_size=3)
    quiet: st.SearchStrategy[list[tuple[str, str]]] = st.just([])
    return st.builds(
        Asked, st.just(method), path, query | quiet if keys else quiet, headers | st.just({}), bodies
    )


def at(kind: str, lasts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repositories = st.sampled_from(["demo", PLAIN]) | names
    return st.builds(f"/v2/{{}}/{kind}/{{}}".format, repositories, lasts)


sessions = st.integers(0, 4).map(str) | odd
good = st.sampled_from(["/v2/demo/manifests/latest", "/v2/demo/manifests/1", f"/v2/demo/manifests/{NAME}"])
live = st.integers(0, 4).map("/v2/demo/blobs/uploads/{}".format)
fitting = st.one_of(
    *[asks(method, at("blobs", digests | odd)) for method in ("GET", "HEAD", "DELETE")],
    *[asks(method, at("manifests", digests | tags | odd)) for method in ("GET", "HEAD", "DELETE")],
    *[asks("PUT", at("manifests", tags), ["tag"])] * 3,
    *[asks("PUT", at("manifests", digests), ["tag"])] * 3,
    *[st.builds(Asked, st.just("PUT"), good, st.just([]), st.just({}), edited | st.just(MANIFEST))] * 3,
    st.builds(Asked, st.just("PUT"), live, st.just([("digest", DIGEST)]), st.just({}), st.just(BLOB)),
    *[asks("POST", at("blobs", st.just("uploads/")), ["digest", "mount", "from", "digest-algorithm"])] * 3,
    *[asks("PUT", at("blobs/uploads", sessions), ["digest", "_state"])] * 2,
    *[asks(method, at("blobs/uploads", sessions)) for method in ("PATCH", "PATCH", "GET", "HEAD", "DELETE")],
    *[asks(method, at("tags", st.just("list")), ["n", "last"]) for method in ("GET", "HEAD")],
    asks("GET", at("referrers", digests | odd), ["n", "last", "artifactType"]),
    asks("GET", st.just("/v2/_catalog"), ["n", "last"]),
)
requests = fitting | st.builds(Asked, methods, paths, queries, headers, bodies)


def fill(registry: PushRegistry) -> None:
    """Both repositories have the blob, the manifest and its tag."""
    for repository in ("demo", PLAIN):
        blob = Asked("POST", f"/v2/{repository}/blobs/uploads/", [("digest", DIGEST)], {}, BLOB)
        tag = Asked("PUT", f"/v2/{repository}/manifests/latest", [], {}, MANIFEST)
        for asked in (blob, tag):
            assert registry.handle(asked.request()).status == 201


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushRegistry]:
    """On a disk and in a database, which are pickier than memory; its uploads have short names."""
    with ExitStack() as closing:
        store = LocalStore(str(tmp_path_factory.mktemp("fuzz") / "store"))
        closing.callback(store.close)
        metadata = Metadata(store, command="fuzz")
        closing.callback(metadata.repositories.close)
        numbers = itertools.count()
        made = PushRegistry(store, metadata.repositories, new_id=lambda: str(next(numbers) % 5))
        closing.callback(made.close)
        yield made


def check(method: str, status: int, found: dict[str, str], body: bytes | None) -> None:
    """What must be true of every answer; ``body`` is None where it was not read."""
    assert status < 500 or status in SOUND, (status, body)
    assert status >= 200
    for name, value in found.items():
        assert _TOKEN.fullmatch(name.lower()) and _VALUE.fullmatch(value), (name, value)
        assert len(value) < 8000
    if status >= 400 and body is not None and method != "HEAD":
        errors = json.loads(body)["errors"]
        assert errors and all(error["code"] in (*CODES, "UNKNOWN") for error in errors)
        assert "UNKNOWN" not in [error["code"] for error in errors] or status in SOUND
        assert len(body) < 4000
    if status == 405:
        assert found.get("allow") or found.get("Allow")


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(several=st.lists(requests, min_size=1, max_size=8))
def test_every_request_has_an_answer(registry: PushRegistry, several: list[Asked]) -> None:
    fill(registry)
    for asked in several:
        quick = registry.quick(asked.request())
        response = registry.handle(asked.request())

        with ExitStack() as closing:
            closing.callback(response.close)
            check(asked.method, response.status, dict(response.headers), _body(response))
            if quick is not None:
                assert quick.status == response.status
                assert not quick.body or _body(quick) == _body(response)


def _body(response: Response) -> bytes:
    if isinstance(response.body, Slice):
        return response.body.reader.read_at(response.body.length, response.body.start)
    return response.body


@pytest.fixture(scope="module")
def address(registry: PushRegistry) -> Iterator[str]:
    """Where it listens."""
    fill(registry)
    with RegistryServer(registry.handle) as server:
        yield server.address


wire = st.text(string.printable.strip() + "äß%", max_size=30).map(lambda text: text.encode())


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from([b"GET", b"HEAD", b"PUT", b"POST", b"PATCH", b"DELETE"]),
    path=st.builds(
        "/v2/{}/{}/{}".format,
        st.sampled_from(["demo", PLAIN, "%2e%2e", "a%00b", "%ff", "a%2fb", "gone"]),
        st.sampled_from(["blobs", "manifests", "tags", "referrers", "blobs%2Fuploads"]),
        st.sampled_from([DIGEST, NAME, "latest", "list", "uploads/", "uploads/1", "..", "%0d%0aX: y", "%25"]),
    ),
    query=st.lists(
        st.sampled_from(["n=1", "last=%ff", "digest=" + DIGEST, "mount=%00", "tag=%0a", "&", "=", "%"])
    ),
    lines=st.lists(st.tuples(st.sampled_from([b"Range", b"Accept", b"X"]), wire), max_size=3),
    body=bodies,
)
def test_every_request_on_the_wire_has_an_answer(
    address: str,
    method: bytes,
    path: str,
    query: list[str],
    lines: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    host, _, port = address.partition(":")
    head = method + b" " + (path + ("?" + "&".join(query) if query else "")).encode() + b" HTTP/1.1\r\n"
    head += b"Host: x\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body)
    head += b"".join(name + b": " + value + b"\r\n" for name, value in lines)

    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(head + b"\r\n" + body)
        response = http.client.HTTPResponse(client, method=method.decode())
        response.begin()
        data = response.read()

    is_ours = "docker-distribution-api-version" in response.headers
    check(method.decode(), response.status, dict(response.headers), data if is_ours else None)


def test_nothing_is_written_outside_of_the_store(registry: PushRegistry, tmp_path: Path) -> None:
    names = ["../x", "..", "a/../../x", "/etc", "a/./b", "a\x00b", "~"]

    statuses = {
        registry.handle(
            Request(
                method="POST",
                path=f"/v2/{name}/blobs/uploads/",
                query={"digest": DIGEST},
                body=BytesBody(BLOB),
            )
        ).status
        for name in names
    }

    assert statuses <= {400, 404, 405}
