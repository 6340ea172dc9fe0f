"""Uploads: whole, in chunks, mounted, given up, and wrong in every way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import DiskFull, DistoreError, QuotaExceeded, Unavailable
from distore.oci.digest import Digest
from distore.registry import sessions
from distore.registry.message import BytesBody, Request, Response
from distore.registry.routes import PushRegistry
from distore.testing.memory_repositories import MemoryRepositories

Ask = Callable[..., Response]
BLOB = b"0123456789" * 10
DIGEST = Digest.of(BLOB)
OTHER = Digest.of(b"other")


def begin(ask: Ask, repository: str = "demo") -> str:
    """The location of a new upload, up to and with the ? of its query."""
    response = ask("POST", f"{repository}/blobs/uploads/")
    assert response.status == 202
    return response.headers["location"].partition("?")[0] + "?"


def code(response: Response) -> str:
    assert isinstance(response.body, bytes)
    (error,) = json.loads(response.body)["errors"]
    return str(error["code"])


def test_an_upload_begins_with_a_place_to_send_to(ask: Ask) -> None:
    response = ask("POST", "library/redis/blobs/uploads/")

    assert response.status == 202
    assert response.headers == {
        "location": "/v2/library/redis/blobs/uploads/id-0?_state=0",
        "docker-upload-uuid": "id-0",
        "range": "0-0",
    }


def test_a_blob_comes_whole_in_one_put(ask: Ask, kept: MemoryStore) -> None:
    response = ask("PUT", f"{begin(ask)}digest={DIGEST}", BLOB)

    assert (response.status, response.headers) == (
        201,
        {"location": f"/v2/demo/blobs/{DIGEST}", "docker-content-digest": DIGEST},
    )
    assert read_blob(kept, DIGEST, max_size=1000) == BLOB
    assert ask("HEAD", f"demo/blobs/{DIGEST}").status == 200
    assert list(kept.statuses()) == []


def test_a_blob_comes_whole_in_one_post(ask: Ask, kept: MemoryStore) -> None:
    response = ask("POST", f"demo/blobs/uploads/?digest={DIGEST}", BLOB)

    assert (response.status, response.headers["location"]) == (201, f"/v2/demo/blobs/{DIGEST}")
    assert read_blob(kept, DIGEST, max_size=1000) == BLOB


@pytest.mark.parametrize("ranged", [True, False])
def test_a_blob_comes_in_chunks(ask: Ask, kept: MemoryStore, ranged: bool) -> None:
    location = begin(ask)
    for start in range(0, 90, 30):
        headers = {"content_range": f"{start}-{start + 29}", "content_length": "30"} if ranged else {}
        response = ask("PATCH", location, BLOB[start : start + 30], **headers)
        assert (response.status, response.headers["range"]) == (202, f"0-{start + 29}")
        assert response.headers["location"].endswith(f"?_state={start + 30}")

    last = {"content_range": "90-99"} if ranged else {}
    assert ask("PUT", f"{location}digest={DIGEST}", BLOB[90:], **last).status == 201
    assert read_blob(kept, DIGEST, max_size=1000) == BLOB


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("data", [b"", b"x", BLOB])
def test_any_blob_has_any_digest(ask: Ask, algorithm: str, data: bytes) -> None:
    digest = Digest.of(data, algorithm=algorithm)

    assert ask("PUT", f"{begin(ask)}digest={digest}", data).status == 201

    response = ask("GET", f"demo/blobs/{digest}")
    assert (response.status, response.length) == (200, len(data))


def test_a_blob_that_is_there_is_taken_all_the_same(ask: Ask, push: Callable[..., Digest]) -> None:
    push(ask, "demo", BLOB)

    assert push(ask, "demo", BLOB) == DIGEST
    assert push(ask, "other", BLOB) == DIGEST


def test_a_repository_has_what_was_pushed_to_it(ask: Ask, push: Callable[..., Digest]) -> None:
    push(ask, "a", BLOB)
    push(ask, "b", b"b")

    assert [ask("HEAD", f"{name}/blobs/{DIGEST}").status for name in "abc"] == [200, 404, 404]


def test_the_status_of_an_upload_is_how_far_it_is(ask: Ask) -> None:
    location = begin(ask)
    ask("PATCH", location, BLOB)

    for method in ("GET", "HEAD"):
        response = ask(method, location)
        assert (response.status, response.headers["range"]) == (204, "0-99")
        assert response.headers["docker-upload-uuid"] == "id-0"


def test_an_upload_can_be_given_up(ask: Ask, kept: MemoryStore) -> None:
    location = begin(ask)
    ask("PATCH", location, BLOB)

    assert ask("DELETE", location).status == 204

    assert list(kept.statuses()) == []
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        response = ask(method, location)
        assert (response.status, code(response)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_belongs_to_its_repository(ask: Ask) -> None:
    other = begin(ask).replace("/demo/", "/other/")

    assert [ask(method, other).status for method in ("GET", "PATCH", "PUT", "DELETE")] == [404] * 4


@pytest.mark.parametrize(
    "header", ["5-9", "11-19", "0-9", "x", "10", "19-10", "10-", "-19", f"10-{'9' * 30}"]
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_that_does_not_fit_is_told_what_does(ask: Ask, method: str, header: str) -> None:
    location = begin(ask)
    ask("PATCH", location, BLOB[:10])

    response = ask(method, f"{location}digest={DIGEST}", BLOB[10:20], content_range=header)

    assert (response.status, response.headers["range"]) == (416, "0-9")
    assert response.headers["location"].startswith(location)
    assert ask("PUT", f"{location}digest={DIGEST}", BLOB[10:]).status == 201


@pytest.mark.parametrize("header", ["bytes 0-9/*", "bytes 0-9/100", "bytes 0-9", " 0-9 "])
def test_a_range_may_be_written_as_http_does(ask: Ask, header: str) -> None:
    assert ask("PATCH", begin(ask), BLOB[:10], content_range=header).status == 202


@pytest.mark.parametrize("headers", [{"content_length": "10"}, {}])
def test_a_chunk_that_is_not_as_long_as_its_range_leaves_nothing(ask: Ask, headers: dict[str, str]) -> None:
    location = begin(ask)

    response = ask("PATCH", location, BLOB[:10], content_range="0-19", **headers)

    assert (response.status, code(response)) == (400, "SIZE_INVALID")
    assert ask("GET", location).headers["location"].endswith("_state=0")


@pytest.mark.parametrize("path", ["PUT", "POST"])
def test_other_bytes_than_promised_end_the_upload(ask: Ask, kept: MemoryStore, path: str) -> None:
    location = begin(ask) if path == "PUT" else "demo/blobs/uploads/?"

    response = ask(path, f"{location}digest={OTHER}", BLOB)

    assert (response.status, code(response)) == (400, "DIGEST_INVALID")
    assert list(kept.walk()) == [] and list(kept.statuses()) == []
    assert ask("HEAD", f"demo/blobs/{OTHER}").status == 404


@pytest.mark.parametrize("query", ["", "digest=", "digest=md5:12", "digest=sha256:12"])
def test_an_upload_ends_with_a_digest_and_goes_on_without(ask: Ask, query: str) -> None:
    location = begin(ask)

    response = ask("PUT", location + query, BLOB)

    assert (response.status, code(response)) == (400, "DIGEST_INVALID")
    assert ask("PUT", f"{location}digest={DIGEST}", BLOB).status == 201


def test_a_blob_is_mounted_from_where_it_is(ask: Ask, push: Callable[..., Digest]) -> None:
    push(ask, "a", BLOB)

    response = ask("POST", f"b/c/blobs/uploads/?mount={DIGEST}&from=a")

    assert (response.status, response.headers["location"]) == (201, f"/v2/b/c/blobs/{DIGEST}")
    assert ask("HEAD", f"b/c/blobs/{DIGEST}").status == 200


@pytest.mark.parametrize(
    "query",
    [f"mount={OTHER}&from=a", f"mount={DIGEST}&from=gone", f"mount={OTHER}", "mount=x&from=a", "from=a"],
)
def test_what_cannot_be_mounted_becomes_an_upload(ask: Ask, push: Callable[..., Digest], query: str) -> None:
    push(ask, "a", BLOB)

    assert ask("POST", f"b/blobs/uploads/?{query}").status == 202
    assert ask("HEAD", f"b/blobs/{DIGEST}").status == 404


def test_a_registry_may_not_know_mounts(make: Callable[..., Ask], push: Callable[..., Digest]) -> None:
    ask = make(mount=False)
    push(ask, "a", BLOB)

    assert ask("POST", f"b/blobs/uploads/?mount={DIGEST}&from=a").status == 202


def test_a_registry_may_not_know_chunks(make: Callable[..., Ask]) -> None:
    ask = make(chunked=False)
    location = begin(ask)

    response = ask("PATCH", location, BLOB)

    assert (response.status, code(response)) == (405, "UNSUPPORTED")
    assert "PATCH" not in response.headers["allow"]
    assert ask("PUT", f"{location}digest={DIGEST}", BLOB).status == 201


def test_chunks_may_have_a_smallest_size_but_for_the_last(make: Callable[..., Ask]) -> None:
    ask = make(min_chunk=30)
    assert ask("POST", "demo/blobs/uploads/").headers["oci-chunk-min-length"] == "30"
    location = begin(ask)

    assert ask("PATCH", location, BLOB[:30]).status == 202
    assert ask("PATCH", location, BLOB[30:90]).status == 202
    assert ask("PATCH", location, BLOB[90:]).status == 202
    assert ask("PUT", f"{location}digest={DIGEST}").status == 201


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_nothing_comes_after_a_chunk_that_was_too_small(make: Callable[..., Ask], method: str) -> None:
    ask = make(min_chunk=30)
    location = begin(ask)
    ask("PATCH", location, BLOB[:29])

    response = ask(method, f"{location}digest={DIGEST}", BLOB[29:])

    assert (response.status, code(response)) == (400, "BLOB_UPLOAD_INVALID")


class Broken:
    """A body that ends too early."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, limit: int, /) -> bytes:
        data, self.data = self.data[:limit], self.data[limit:]
        if not data:
            raise Unavailable("request body: the connection ended before it")
        return data


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_what_came_before_the_connection_broke_is_kept(kept: MemoryStore, method: str) -> None:
    registry = PushRegistry(kept, MemoryRepositories(), new_id=lambda: "id")
    path, query = "/v2/a/blobs/uploads/id", {"digest": str(DIGEST)}
    registry.handle(Request(method="POST", path="/v2/a/blobs/uploads/"))

    broken = registry.handle(Request(method=method, path=path, query=query, body=Broken(BLOB[:70])))

    assert broken.status == 503
    assert registry.handle(Request(method="GET", path=path)).headers["range"] == "0-69"
    rest = Request(method="PUT", path=path, query=query, body=BytesBody(BLOB[70:]))
    assert registry.handle(rest).status == 201


def test_a_post_that_broke_leaves_nothing(kept: MemoryStore) -> None:
    registry = PushRegistry(kept, MemoryRepositories())
    query = {"digest": str(DIGEST)}

    registry.handle(Request(method="POST", path="/v2/a/blobs/uploads/", query=query, body=Broken(BLOB[:70])))

    assert list(kept.statuses()) == []


@pytest.mark.parametrize("error", [DiskFull("x"), QuotaExceeded("x")])
def test_a_store_without_room_is_answered_for(
    kept: MemoryStore, error: DistoreError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(kept, "writer", full)
    registry = PushRegistry(kept, MemoryRepositories())

    assert registry.handle(Request(method="POST", path="/v2/a/blobs/uploads/")).status == 507


def test_two_requests_do_not_write_one_upload_at_once(
    kept: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_PATIENCE", 0.01)
    monkeypatch.setattr(sessions, "_GLANCE", 0.01)
    registry = PushRegistry(kept, MemoryRepositories(), new_id=lambda: "id")
    path = "/v2/a/blobs/uploads/id"
    registry.handle(Request(method="POST", path="/v2/a/blobs/uploads/"))
    began, go_on = threading.Event(), threading.Event()

    class Slow(BytesBody):
        def read(self, limit: int, /) -> bytes:
            began.set()
            assert go_on.wait(10)
            return super().read(limit)

    first = threading.Thread(
        target=registry.handle, args=[Request(method="PATCH", path=path, body=Slow(BLOB))]
    )
    first.start()
    assert began.wait(10)
    second = registry.handle(Request(method="PATCH", path=path, body=BytesBody(BLOB)))
    status = registry.handle(Request(method="GET", path=path))
    go_on.set()
    first.join(10)

    assert (second.status, status.status) == (503, 204)
    assert registry.handle(Request(method="GET", path=path)).headers["range"] == "0-99"


def test_only_so_many_uploads_are_open(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)

    statuses = [ask("POST", "demo/blobs/uploads/").status for _ in range(3)]

    assert statuses == [202, 202, 429]


def test_uploads_can_be_given_up(store: LocalStore) -> None:
    registry = PushRegistry(store, MemoryRepositories(), new_id=lambda: "id")
    registry.handle(Request(method="POST", path="/v2/demo/blobs/uploads/"))

    registry.drop_uploads()

    assert list(store.statuses()) == []
    assert registry.handle(Request(method="GET", path="/v2/demo/blobs/uploads/id")).status == 404


def test_a_blob_can_be_taken_out_of_a_repository(
    ask: Ask, push: Callable[..., Digest], kept: MemoryStore
) -> None:
    push(ask, "a", BLOB)
    push(ask, "b", BLOB)

    assert ask("DELETE", f"a/blobs/{DIGEST}").status == 202

    assert [ask("HEAD", f"{name}/blobs/{DIGEST}").status for name in "ab"] == [404, 200]
    gone = ask("DELETE", f"a/blobs/{DIGEST}")
    assert (gone.status, code(gone)) == (404, "BLOB_UNKNOWN")
    assert code(ask("DELETE", "a/blobs/x")) == "DIGEST_INVALID"


@pytest.mark.parametrize("name", ["A", "a//b", "a/-b", "a..b", "-", "a b", "x" * 256, "\u00fc"])
def test_a_bad_name_takes_nothing(ask: Ask, name: str) -> None:
    response = ask("POST", f"{name}/blobs/uploads/")

    assert (response.status, code(response)) == (400, "NAME_INVALID")


@pytest.mark.parametrize("name", ["a", "a/b", "a.b_c__d-e---f/0", "blobs", "blobs/uploads", "x" * 255])
def test_a_good_name_takes_a_blob(ask: Ask, push: Callable[..., Digest], name: str) -> None:
    push(ask, name, BLOB)

    assert ask("HEAD", f"{name}/blobs/{DIGEST}").status == 200
    assert ask("PATCH", begin(ask, name), BLOB).status == 202


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "a/blobs/uploads/", "POST"),
        ("POST", "a/blobs/uploads/x", "GET, HEAD, PATCH, PUT, DELETE"),
        ("PUT", f"a/blobs/{DIGEST}", "GET, HEAD, DELETE"),
        ("POST", "a/manifests/x", "GET, HEAD, PUT, DELETE"),
        ("DELETE", "a/tags/list", "GET, HEAD"),
        ("POST", f"a/referrers/{DIGEST}", "GET, HEAD"),
        ("POST", "", "GET, HEAD"),
    ],
)
def test_a_method_that_is_none_of_the_endpoint_is_refused(
    ask: Ask, method: str, path: str, allow: str
) -> None:
    response = ask(method, path)

    assert (response.status, response.headers["allow"]) == (405, allow)
