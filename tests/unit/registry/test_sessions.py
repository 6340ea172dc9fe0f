"""Upload sessions: they outlive a process, an idle hour and another worker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import DiskFull
from distore.oci.digest import Digest
from distore.registry import sessions
from distore.registry.message import ELSEWHERE, OWNER, BytesBody, Request, Response
from distore.registry.routes import PushRegistry
from distore.testing.memory_repositories import MemoryRepositories

BLOB = b"0123456789" * 10
DIGEST = Digest.of(BLOB)
LONG = Digest.of(BLOB, algorithm="sha512")
PATH = "/v2/a/b/blobs/uploads/id-0"
REF = "registry/a/b/id-0"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def registry(store: LocalStore | MemoryStore, clock: Clock | None = None) -> PushRegistry:
    return PushRegistry(store, MemoryRepositories(), new_id=lambda: "id-0", now=clock or Clock())


def ask(asked: PushRegistry, method: str, path: str = PATH, body: bytes = b"", **query: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in query.items()}
    return asked.handle(Request(method=method, path=path, query=named, body=BytesBody(body)))


def begin(asked: PushRegistry, **query: str) -> None:
    assert ask(asked, "POST", "/v2/a/b/blobs/uploads/", b"", **query).status == 202


def test_an_upload_is_an_ingest_that_names_its_repository(store: LocalStore) -> None:
    begin(registry(store))

    assert [status.ref for status in store.statuses()] == [REF]


def test_an_upload_goes_on_after_a_restart(store: LocalStore) -> None:
    first = registry(store)
    begin(first)
    ask(first, "PATCH", body=BLOB[:30])
    first.close()

    second = registry(store)

    assert ask(second, "GET").headers["range"] == "0-29"
    assert ask(second, "PATCH", body=BLOB[30:60]).headers["range"] == "0-59"
    assert ask(second, "PUT", body=BLOB[60:], digest=DIGEST).status == 201
    assert read_blob(store, DIGEST, max_size=1000) == BLOB
    assert list(store.statuses()) == []


def test_nobody_holds_an_upload_that_was_only_begun(store: LocalStore) -> None:
    begin(registry(store))

    assert ask(registry(store), "PUT", body=BLOB, digest=DIGEST).status == 201


def test_what_ended_elsewhere_is_unknown(store: LocalStore) -> None:
    first, second = registry(store), registry(store)
    begin(first)
    assert ask(second, "DELETE").status == 204

    for method in ("GET", "PATCH", "PUT", "DELETE"):
        assert ask(first, method, digest=DIGEST).status == 404
    assert list(store.statuses()) == []


def test_an_upload_that_another_process_holds_is_handed_over_unread(store: LocalStore) -> None:
    begin(registry(store))
    script = (
        "import sys; from distore.content.local.store import LocalStore;"
        f"writer = LocalStore({store.root!r}).writer({REF!r}); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        class Unread:
            def read(self, limit: int, /) -> bytes:
                raise AssertionError("the body was read")

        for method in ("GET", "PATCH", "PUT", "DELETE"):
            request = Request(method=method, path=PATH, query={"digest": DIGEST}, body=Unread())
            response = registry(store).handle(request)
            assert (response.status, response.headers) == (ELSEWHERE, {OWNER: str(holder.pid)})
        assert holder.stdin is not None
        holder.stdin.close()
    assert ask(registry(store), "PUT", body=BLOB, digest=DIGEST).status == 201


def test_a_writer_of_this_process_that_is_another_ones_is_waited_for(store: LocalStore) -> None:
    begin(registry(store))

    with store.writer(REF):
        assert ask(registry(store), "PATCH", body=BLOB).status == 503


def test_an_idle_upload_lets_go_of_its_file_and_keeps_its_bytes(store: LocalStore) -> None:
    clock = Clock()
    asked = registry(store, clock)
    begin(asked)
    ask(asked, "PATCH", body=BLOB[:30])
    assert store.status(REF).owner is not None

    clock.now += sessions.IDLE
    asked.expire(clock.now)

    assert store.status(REF).owner is None
    assert ask(asked, "PUT", body=BLOB[30:], digest=DIGEST).status == 201


def test_only_so_many_files_are_open(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_OPEN", 2)
    numbers = iter(range(9))
    asked = PushRegistry(store, MemoryRepositories(), new_id=lambda: f"id-{next(numbers)}")
    for number in range(4):
        begin(asked)
        ask(asked, "PATCH", f"/v2/a/b/blobs/uploads/id-{number}", BLOB)

    assert sum(status.owner is not None for status in store.statuses()) == 2
    for number in range(4):
        path = f"/v2/a/b/blobs/uploads/id-{number}"
        assert ask(asked, "PUT", path, digest=DIGEST).status == 201


def test_an_abandoned_upload_goes_and_no_other_ingest(store: LocalStore) -> None:
    asked = registry(store)
    begin(asked)
    store.writer("mine").close()
    written = store.status(REF).updated.timestamp()

    assert asked.expire(written + sessions.ABANDONED - 1) == 0
    assert asked.expire(written + sessions.ABANDONED + 1) == 1

    assert [status.ref for status in store.statuses()] == ["mine"]
    assert ask(asked, "GET").status == 404


def test_uploads_that_ended_in_another_worker_do_not_count(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 1)
    first, second = registry(store), registry(store)
    begin(first)
    refused = ask(first, "POST", "/v2/a/b/blobs/uploads/")
    ask(second, "DELETE")

    assert refused.status == 429
    begin(first)


@pytest.mark.parametrize("told", ["begin", "end", "post"])
def test_a_blob_is_hashed_as_the_client_wants(store: LocalStore, told: str) -> None:
    asked = registry(store)
    if told == "post":
        response = ask(asked, "POST", "/v2/a/b/blobs/uploads/", BLOB, digest=LONG)
    else:
        begin(asked, **({"digest_algorithm": "sha512"} if told == "begin" else {}))
        if told == "begin":
            ask(asked, "PATCH", body=BLOB[:50])
        response = ask(asked, "PUT", body=BLOB[50:] if told == "begin" else BLOB, digest=LONG)

    assert (response.status, response.headers["docker-content-digest"]) == (201, LONG)
    assert read_blob(store, LONG, max_size=1000) == BLOB
    assert list(store.statuses()) == []


def test_who_pushes_a_long_digest_that_is_there_has_to_have_the_bytes(store: LocalStore) -> None:
    asked = registry(store)
    begin(asked)
    ask(asked, "PUT", body=BLOB, digest=LONG)

    begin(asked)
    assert ask(asked, "PUT", body=b"other", digest=LONG).status == 400
    assert ask(asked, "POST", "/v2/c/blobs/uploads/", b"other", digest=LONG).status == 400
    assert ask(asked, "HEAD", f"/v2/c/blobs/{LONG}").status == 404
    begin(asked)
    assert ask(asked, "PUT", body=BLOB, digest=LONG).status == 201


@pytest.mark.parametrize("algorithm", ["md5", "", "sha256 ", "\udc80"])
def test_an_unknown_algorithm_begins_nothing(store: LocalStore, algorithm: str) -> None:
    response = ask(registry(store), "POST", "/v2/a/b/blobs/uploads/", digest_algorithm=algorithm)

    assert response.status == 400
    assert list(store.statuses()) == []


@pytest.mark.parametrize("name", ["..", "x/y", "a" * 65, "\u00fc", "id_0", "", "id-0\n"])
def test_an_upload_with_an_impossible_name_is_unknown(
    store: LocalStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = registry(store)

    for method in ("GET", "PATCH", "DELETE"):
        assert ask(asked, method, f"/v2/a/b/blobs/uploads/{name}").status in (404, 405)
    assert not store.exists()


def test_an_upload_that_found_no_room_can_be_ended_later(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = registry(store)
    begin(asked)
    ask(asked, "PATCH", body=BLOB)
    fail: Callable[..., None] = _raise_full
    with monkeypatch.context() as patched:
        patched.setattr("distore.content.local.writer.LocalWriter._sync", fail)
        assert ask(asked, "PUT", digest=DIGEST).status == 507

    assert ask(asked, "GET").headers["range"] == "0-99"
    assert ask(asked, "PUT", digest=DIGEST).status == 201


def _raise_full(*_: object) -> None:
    raise DiskFull("x")
