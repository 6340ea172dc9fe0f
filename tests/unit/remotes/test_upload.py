"""Upload: one blob into a registry, whatever happens on the way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.remotes.pushing import CHUNK, Clients, described

from distore.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from distore.oci.digest import Digest
from distore.registry.message import BytesBody, Handler, Request, Response
from distore.remotes.http.upload import offset_of
from distore.remotes.options import RegistryOptions
from distore.remotes.sessions import FileSessions, Session
from distore.testing import server
from distore.testing.altered import Altered
from distore.testing.server import BytesReader, FakeRegistry, Fault

BLOB = random.Random(7).randbytes(3 * CHUNK + 400)
DIGEST = Digest.of(BLOB)
SMALL = BLOB[:CHUNK]
UPLOADS = "/blobs/uploads/"


@pytest.fixture
def clients() -> Iterator[Clients]:
    with Clients() as made:
        yield made


@pytest.fixture
def upload(clients: Clients, registry: FakeRegistry) -> Callable[..., str]:
    """Upload into the repository ``demo`` of ``registry``."""
    client = clients.client(f"{registry.address}/demo")
    return lambda data=BLOB, **more: clients.upload(client, data, **more)


def stored(registry: FakeRegistry, data: bytes = BLOB, repository: str = "demo") -> bool:
    digest = Digest.of(data)
    return registry.has(repository, digest) and registry.blobs.data[digest] == data


def wire(registry: FakeRegistry) -> list[str]:
    """Methods in the order in which they came, of uploads alone."""
    return [seen.method for seen in registry.seen(UPLOADS)]


def ranges(registry: FakeRegistry) -> list[str | None]:
    return [seen.headers.get("content-range") for seen in registry.seen(UPLOADS)]


def answer(status: int, **headers: str) -> Fault:
    """An answer that nobody stands behind; the body of the request is read."""

    def act(request: Request, handler: Handler) -> Response:
        while request.body.read(1 << 20):
            pass
        return Response(
            status=status, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )

    return act


def test_a_small_blob_goes_in_one_request_after_the_session(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    assert upload(SMALL) == "pushed"

    assert stored(registry, SMALL)
    assert wire(registry) == ["POST", "PUT"]
    put = registry.requests[-1]
    assert put.query["digest"] == Digest.of(SMALL)
    assert put.headers["content-length"] == str(len(SMALL))
    assert put.headers["content-type"] == "application/octet-stream"
    assert "content-range" not in put.headers
    assert "transfer-encoding" not in put.headers


def test_a_large_blob_goes_in_chunks_and_the_last_one_ends_it(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    assert upload() == "pushed"

    assert stored(registry)
    assert wire(registry) == ["POST", "PATCH", "PATCH", "PATCH", "PUT"]
    assert ranges(registry) == [None, "0-999", "1000-1999", "2000-2999", "3000-3399"]
    assert registry.bytes_received == len(BLOB)


def test_what_the_location_says_is_kept_from_request_to_request(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    upload()

    states = [seen.query.get("_state") for seen in registry.seen(UPLOADS)]
    assert states == [None, "0", "1000", "2000", "3000"]


def test_an_empty_blob_is_a_blob(registry: FakeRegistry, upload: Callable[..., str]) -> None:
    assert upload(b"") == "pushed"

    assert stored(registry, b"")
    assert wire(registry) == ["POST", "PUT"]
    assert registry.requests[-1].headers["content-length"] == "0"
    assert "content-range" not in registry.requests[-1].headers


def test_progress_ends_with_the_size(upload: Callable[..., str]) -> None:
    told: list[int] = []

    upload(on_progress=told.append)

    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, len(BLOB))


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_only_missing_bytes_go_again_wherever_the_connection_breaks(
    method: str, clients: Clients, registry: FakeRegistry, count: Callable[[str, int], None]
) -> None:
    client = clients.client(f"{registry.address}/demo")
    cuts = [0, 1, 2, 399, 400, 500, 998, 999, *([1000] if method == "PATCH" else [])]
    for number, cut in enumerate(cuts):
        data = number.to_bytes(2, "big") + (BLOB[2:] if method == "PATCH" else SMALL[2:])
        before = registry.bytes_received
        registry.inject(server.drop_upload_at(cut), path=UPLOADS, method=method)

        assert clients.upload(client, data) == "pushed"

        assert stored(registry, data)
        # A state of 0-0 may be no byte or one: that one is sent again.
        assert registry.bytes_received - before == len(data) + (cut == 1)
    count(f"uploads broken off in {method}", len(cuts))


def test_an_upload_that_breaks_again_and_again_arrives(
    registry: FakeRegistry, upload: Callable[..., str], clients: Clients
) -> None:
    for cut in (10, 20, 30):
        registry.inject(server.drop_upload_at(cut), path=UPLOADS, method="PATCH")

    assert upload() == "pushed"

    assert stored(registry)
    assert registry.bytes_received == len(BLOB)
    assert ranges(registry)[1:6:2] == ["0-999", "10-1009", "30-1029"]
    assert len(clients.naps) == 3


def test_an_upload_that_never_gets_further_is_given_up(
    registry: FakeRegistry, upload: Callable[..., str], clients: Clients
) -> None:
    registry.inject(server.drop_upload_at(0), path=UPLOADS, method="PATCH", times=None)

    with pytest.raises(Unavailable):
        upload()

    assert len(clients.naps) == 3
    assert not stored(registry)


def test_a_chunk_whose_answer_is_lost_is_not_sent_again(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.drop_answer(), path=UPLOADS, method="PATCH")

    assert upload() == "pushed"

    assert stored(registry)
    assert registry.bytes_received == len(BLOB)


def test_a_blob_whose_last_answer_is_lost_is_not_sent_again(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.drop_answer(), path=UPLOADS, method="PUT")

    assert upload() == "pushed"

    assert stored(registry)
    assert registry.bytes_received == len(BLOB)
    assert registry.requests[-1].method == "HEAD"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_session_that_the_registry_has_lost_begins_anew(
    method: str, registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.lose_session(), path=UPLOADS, method=method)

    assert upload() == "pushed"

    assert stored(registry)
    assert wire(registry).count("POST") == 2


def test_a_registry_that_loses_every_session_is_given_up(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.lose_session(), path=UPLOADS, method="PATCH", times=None)

    with pytest.raises(Unavailable, match="has lost the upload"):
        upload()

    assert wire(registry).count("POST") == 4


def test_a_registry_without_chunks_gets_the_blob_whole(clients: Clients) -> None:
    with FakeRegistry(chunked=False) as registry:
        client = clients.client(f"{registry.address}/demo")

        assert clients.upload(client, BLOB) == "pushed"

        assert stored(registry)
        assert wire(registry) == ["POST", "PATCH", "POST", "PUT"]
        assert registry.requests[-1].headers["content-length"] == str(len(BLOB))
        assert clients.naps == []


@pytest.mark.parametrize("status", [400, 405, 501])
def test_a_first_chunk_that_is_refused_makes_the_blob_go_whole(
    status: int, registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.refuse(status), path=UPLOADS, method="PATCH", times=None)

    assert upload() == "pushed"

    assert stored(registry)


def test_a_blob_that_goes_whole_is_resumed_where_it_broke(clients: Clients) -> None:
    with FakeRegistry(chunked=False) as registry:
        registry.inject(server.drop_upload_at(1234), path=UPLOADS, method="PUT")

        clients.upload(clients.client(f"{registry.address}/demo"), BLOB)

        assert stored(registry)
        assert registry.bytes_received == len(BLOB)


def test_a_registry_that_does_not_go_on_with_a_broken_upload_gets_it_anew(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.drop_upload_at(500), path=UPLOADS, method="PATCH")
    registry.inject(server.refuse(400), path=UPLOADS, method="PATCH")

    assert upload() == "pushed"

    assert stored(registry)
    assert wire(registry).count("POST") == 2


def test_a_registry_that_asks_for_larger_chunks_gets_them(clients: Clients) -> None:
    with FakeRegistry(min_chunk=1500) as registry:
        clients.upload(clients.client(f"{registry.address}/demo"), BLOB)

        assert stored(registry)
        assert ranges(registry) == [None, "0-1499", "1500-2999", "3000-3399"]


def test_a_range_that_is_refused_is_looked_up_and_goes_on(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    taken: list[int] = []

    def take_and_refuse(request: Request, handler: Handler) -> Response:
        taken.append(handler(request).status)
        return Response(status=416)

    registry.inject(take_and_refuse, path=UPLOADS, method="PATCH")

    assert upload() == "pushed"

    assert taken == [202]
    assert stored(registry)
    assert wire(registry) == ["POST", "PATCH", "GET", "PATCH", "PATCH", "PUT"]
    assert registry.bytes_received == len(BLOB)


def test_a_session_that_tells_the_same_offset_and_refuses_it_is_left(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    for _ in range(2):
        registry.inject(server.refuse(416), path=UPLOADS, method="PATCH")

    assert upload() == "pushed"

    assert stored(registry)
    assert wire(registry).count("POST") == 3


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500])
def test_a_session_whose_state_is_not_told_begins_anew(
    status: int, registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.drop_upload_at(500), path=UPLOADS, method="PATCH")
    registry.inject(server.refuse(status), path=UPLOADS, method="GET")

    assert upload() == "pushed"

    assert stored(registry)
    assert wire(registry).count("POST") == 2


@pytest.mark.parametrize("range_", ["", "bytes", "5-9", "0-99999999999999999999999", "0-9999"])
def test_a_state_that_makes_no_sense_begins_anew(
    range_: str, registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.drop_upload_at(500), path=UPLOADS, method="PATCH")
    registry.inject(answer(204, range=range_), path=UPLOADS, method="GET")

    assert upload() == "pushed"

    assert stored(registry)
    assert wire(registry).count("POST") == 2


@pytest.mark.parametrize("fault", [server.unavailable(), server.throttled(3), server.drop_answer()])
def test_a_session_is_not_given_up_because_the_registry_is_busy(
    fault: Fault, registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.drop_upload_at(500), path=UPLOADS, method="PATCH")
    registry.inject(fault, path=UPLOADS, method="GET")

    assert upload() == "pushed"

    assert stored(registry)
    assert wire(registry).count("POST") == 1
    assert registry.bytes_received == len(BLOB)


def test_a_registry_that_takes_a_part_of_a_chunk_gets_the_rest(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    def take_some(request: Request, handler: Handler) -> Response:
        body = request.body.read(300)
        while request.body.read(1 << 20):
            pass
        headers = {name: text for name, text in request.headers.items() if not name.startswith("content-")}
        return handler(replace(request, body=BytesBody(body), headers=headers))

    registry.inject(take_some, path=UPLOADS, method="PATCH")

    assert upload() == "pushed"

    assert stored(registry)
    assert ranges(registry)[1:3] == ["0-999", "300-1299"]


def test_a_registry_that_takes_nothing_is_given_up(
    registry: FakeRegistry, upload: Callable[..., str], clients: Clients
) -> None:
    registry.inject(answer(202, range="0-0"), path=UPLOADS, method="PATCH", times=None)

    with pytest.raises(Unavailable, match="took nothing of 1000 bytes"):
        upload()

    assert len(clients.naps) == 3


def test_a_token_that_ends_in_the_middle_is_replaced() -> None:
    now = 0.0  # on the registry's clock; the client's stands still

    def take_long(request: Request, handler: Handler) -> Response:
        nonlocal now
        response = handler(request)
        now += 1000
        return response

    with (
        Clients(clock=lambda: 0.0) as clients,
        FakeRegistry(with_tokens=True, token_lifetime=1500, clock=lambda: now) as registry,
    ):
        registry.inject(take_long, path=UPLOADS, method="PATCH", times=None)

        assert clients.upload(clients.client(f"{registry.address}/demo"), BLOB) == "pushed"

        assert stored(registry)
        statuses = [seen.status for seen in registry.seen(UPLOADS)]
        assert statuses == [401, 202, 202, 202, 401, 202, 201]
        assert len(registry.seen("/token")) == 2
        assert clients.naps == []


def test_a_token_that_is_never_good_enough_is_an_error(clients: Clients) -> None:
    with FakeRegistry(with_tokens=True, token_lifetime=-1) as registry:
        with pytest.raises(Unauthenticated):
            clients.upload(clients.client(f"{registry.address}/demo"), BLOB)

        assert not stored(registry)


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_registry_that_asks_for_patience_gets_it(
    method: str, registry: FakeRegistry, upload: Callable[..., str], clients: Clients
) -> None:
    registry.inject(server.throttled(7), path=UPLOADS, method=method)

    assert upload() == "pushed"

    assert stored(registry)
    assert clients.naps == [7.0]


@pytest.mark.parametrize("status", [413, 507])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_registry_without_room_says_so_and_is_asked_once(
    method: str, status: int, registry: FakeRegistry, upload: Callable[..., str], clients: Clients
) -> None:
    registry.inject(server.refuse(status, "SIZE_INVALID", "too much"), path=UPLOADS, method=method)

    with pytest.raises(
        ResourceExhausted, match=rf"demo@{DIGEST}: .* answered {status}: size_invalid too much"
    ):
        upload()

    assert wire(registry).count(method) == 1
    assert clients.naps == []
    assert not stored(registry)


def test_a_location_may_be_a_whole_url(registry: FakeRegistry, upload: Callable[..., str]) -> None:
    def absolute(request: Request, handler: Handler) -> Response:
        response = handler(request)
        location = registry.url + response.headers["location"]
        return replace(response, headers={**response.headers, "location": location})

    registry.inject(absolute, path=UPLOADS, times=None)

    assert upload() == "pushed"

    assert stored(registry)


def test_a_location_elsewhere_gets_the_bytes_and_no_secrets(clients: Clients, tmp_path: Path) -> None:
    with FakeRegistry(users={"ann": "secret"}) as registry, FakeRegistry() as elsewhere:
        auth = tmp_path / "auth.json"
        auth.write_text(f'{{"auths": {{"{registry.address}": {{"username": "ann", "password": "secret"}}}}}}')
        client = clients.client(f"{registry.address}/demo", RegistryOptions(auth_files=(str(auth),)))

        def send_away(request: Request, handler: Handler) -> Response:
            there = clients.client(f"{elsewhere.address}/far")
            begun = there.request(there.hosts[0], "POST", "blobs/uploads/", headers={}, scope="x")
            begun.discard()
            location = f"{elsewhere.url}{begun.header('location')}&sig=a%2Fb"
            return Response(status=202, headers={"location": location})

        registry.inject(send_away, path=UPLOADS, method="POST")

        assert clients.upload(client, SMALL) == "pushed"

        assert stored(elsewhere, SMALL, "far")
        put = elsewhere.requests[-1]
        assert (put.method, put.query["sig"], put.query["digest"]) == ("PUT", "a/b", Digest.of(SMALL))
        assert all("authorization" not in seen.headers for seen in elsewhere.requests)
        assert "authorization" in registry.requests[-1].headers


def test_a_location_elsewhere_is_not_told_whom_a_mirror_stands_for(clients: Clients, tmp_path: Path) -> None:
    with FakeRegistry() as registry, FakeRegistry() as elsewhere:
        (tmp_path / "far.example").mkdir()
        (tmp_path / "far.example" / "hosts.toml").write_text(f'server = "{registry.url}"\n')
        client = clients.client("far.example/demo", RegistryOptions(hosts_dir=str(tmp_path)))
        registry.inject(
            answer(202, location=f"{elsewhere.url}/v2/x/blobs/uploads/1?sig=1"), path=UPLOADS, method="POST"
        )
        elsewhere.inject(answer(201), path=UPLOADS)

        clients.upload(client, SMALL)

        assert registry.requests[0].query["ns"] == "far.example"
        assert set(elsewhere.requests[0].query) == {"sig", "digest"}


@pytest.mark.parametrize("location", ["http://[", "ftp://x/y", "http://user@127.0.0.1/x", "/" + "x" * 9000])
def test_a_location_that_nobody_can_go_to_is_an_error_about_the_registry(
    location: str, registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(answer(202, location=location), path=UPLOADS, method="POST")

    with pytest.raises(FailedPrecondition, match=f"demo@{DIGEST}: .*location: address"):
        upload()


def test_a_session_without_a_location_is_an_error_about_the_registry(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(answer(202), path=UPLOADS, method="POST")

    with pytest.raises(FailedPrecondition, match="does not say where to upload to"):
        upload()


def test_a_location_without_tls_is_not_followed_from_one_with(
    clients: Clients, encrypted: FakeRegistry, registry: FakeRegistry, ca: str
) -> None:
    client = clients.client(f"{encrypted.address}/demo", RegistryOptions(hosts_dir=None, ca=ca))
    client.hosts = (replace(client.hosts[0], scheme="https"),)
    encrypted.inject(
        answer(202, location=f"{registry.url}/v2/demo/blobs/uploads/1"), path=UPLOADS, method="POST"
    )

    with pytest.raises(PermissionDenied, match="leads from https to http"):
        clients.upload(client, SMALL)

    assert registry.requests == []


def test_an_encrypted_registry_takes_uploads(clients: Clients, encrypted: FakeRegistry, ca: str) -> None:
    client = clients.client(f"{encrypted.address}/demo", RegistryOptions(ca=ca))
    client.hosts = (replace(client.hosts[0], scheme="https"),)

    assert clients.upload(client, BLOB) == "pushed"

    assert stored(encrypted)


def test_a_blob_of_another_repository_is_mounted(registry: FakeRegistry, upload: Callable[..., str]) -> None:
    registry.put("other", BLOB)

    assert upload(sources=["other", "third"]) == "mounted"

    assert registry.has("demo", DIGEST)
    assert registry.bytes_received == 0
    (post,) = registry.seen(UPLOADS)
    assert (post.query["mount"], post.query["from"]) == (DIGEST, "other")


def test_a_mount_that_does_not_work_out_gives_the_session_to_go_on_with(
    registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    assert upload(sources=["other", "third"]) == "pushed"

    assert stored(registry)
    assert wire(registry).count("POST") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_mount_that_is_refused_is_tried_elsewhere_and_then_done_without(
    status: int, registry: FakeRegistry, upload: Callable[..., str]
) -> None:
    registry.inject(server.refuse(status), path=UPLOADS, method="POST", times=2)

    assert upload(sources=["other", "third"]) == "pushed"

    assert stored(registry)
    assert [seen.query.get("from") for seen in registry.seen(UPLOADS)][:3] == ["other", "third", None]


def test_a_registry_that_mounts_nothing_gets_the_bytes(clients: Clients) -> None:
    with FakeRegistry(mount=False) as registry:
        registry.put("other", BLOB)

        result = clients.upload(clients.client(f"{registry.address}/demo"), BLOB, sources=["other"])

        assert result == "pushed"
        assert stored(registry)


def test_a_mount_asks_for_a_token_that_may_read_the_other_repository(clients: Clients) -> None:
    with FakeRegistry(with_tokens=True) as registry:
        registry.put("other", BLOB)

        assert (
            clients.upload(clients.client(f"{registry.address}/demo"), BLOB, sources=["other"]) == "mounted"
        )

        asked = registry.seen("/token")[0]
        assert "repository:demo:pull,push" in asked.query["scope"]
        assert registry.has("demo", DIGEST)


def test_another_process_goes_on_where_this_one_stopped(registry: FakeRegistry, tmp_path: Path) -> None:
    sessions = FileSessions(str(tmp_path / "uploads"))
    name = f"{registry.address}/demo"
    with Clients(attempts=1) as first:
        for cut in (CHUNK + 1, 300):  # the first chunk arrives
            registry.inject(server.drop_upload_at(cut), path=UPLOADS, method="PATCH")
        with pytest.raises(Unavailable):
            first.upload(first.client(name), BLOB, sessions=sessions)

    with Clients() as second:
        assert second.upload(second.client(name), BLOB, sessions=sessions) == "pushed"

    assert stored(registry)
    assert registry.bytes_received == len(BLOB)
    assert wire(registry).count("POST") == 1
    assert not (tmp_path / "uploads").exists()


def test_a_session_that_could_not_be_looked_at_stays_for_the_next_try(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    sessions = FileSessions(str(tmp_path / "uploads"))
    session = Session(location=f"{registry.url}/v2/demo/blobs/uploads/1", offset=5)
    name = f"{registry.address}/demo"
    sessions.keep(name, DIGEST, session)
    registry.inject(server.unavailable(), times=None)
    with Clients() as clients, pytest.raises(Unavailable):
        clients.upload(clients.client(name), BLOB, sessions=sessions)

    assert sessions.take(name, DIGEST) == session


def test_a_kept_session_of_another_host_never_sees_our_secrets(clients: Clients, tmp_path: Path) -> None:
    with FakeRegistry(users={"ann": "secret"}) as registry, FakeRegistry() as elsewhere:
        auth = tmp_path / "auth.json"
        auth.write_text(f'{{"auths": {{"{registry.address}": {{"username": "ann", "password": "secret"}}}}}}')
        client = clients.client(f"{registry.address}/demo", RegistryOptions(auth_files=(str(auth),)))
        clients.upload(client, SMALL)  # the client has its credentials at hand
        sessions = FileSessions(str(tmp_path / "uploads"))
        away = Session(location=f"{elsewhere.url}/v2/demo/blobs/uploads/1", offset=5)
        sessions.keep(client.repository.name, DIGEST, away)
        elsewhere.inject(server.refuse(401, www_authenticate='Basic realm="give"'), times=None)

        assert clients.upload(client, BLOB, sessions=sessions) == "pushed"

        assert stored(registry)
        assert [seen.method for seen in elsewhere.requests] == ["GET"]
        assert "authorization" not in elsewhere.requests[0].headers


@pytest.mark.parametrize("location", ["http://[", "file:///etc/passwd", "", "http://127.0.0.1:1/x"])
def test_a_kept_session_that_leads_nowhere_is_passed_over(
    location: str, registry: FakeRegistry, clients: Clients, tmp_path: Path
) -> None:
    sessions = FileSessions(str(tmp_path / "uploads"))
    client = clients.client(f"{registry.address}/demo")
    sessions.keep(client.repository.name, DIGEST, Session(location=location, offset=5))

    assert clients.upload(client, BLOB, sessions=sessions) == "pushed"

    assert stored(registry)


def test_bytes_that_a_kept_session_has_wrong_are_sent_anew(
    registry: FakeRegistry, clients: Clients, tmp_path: Path
) -> None:
    sessions = FileSessions(str(tmp_path / "uploads"))
    client = clients.client(f"{registry.address}/demo")
    wrong = Altered(BytesReader(BLOB), flipped=True)
    registry.inject(server.drop_upload_at(10_000), path=UPLOADS, method="PATCH")
    registry.inject(server.refuse(403), path=UPLOADS, method="PATCH")
    with pytest.raises(PermissionDenied):
        clients.upload(client, wrong, digest=DIGEST, sessions=sessions)

    assert clients.upload(client, BLOB, sessions=sessions) == "pushed"

    assert stored(registry)


def test_wrong_bytes_are_refused_by_the_registry(registry: FakeRegistry, clients: Clients) -> None:
    client = clients.client(f"{registry.address}/demo")

    with pytest.raises(InvalidArgument, match=r"answered 400: digest_invalid"):
        clients.upload(client, BLOB, digest=Digest.of(b"other"))

    assert not registry.has("demo", Digest.of(b"other"))


def test_damage_that_is_found_while_reading_ends_the_upload(registry: FakeRegistry, clients: Clients) -> None:
    client = clients.client(f"{registry.address}/demo")

    with pytest.raises(DataLoss):
        clients.upload(client, Altered(BytesReader(BLOB), until=1500), digest=DIGEST)

    assert not stored(registry)


def test_a_blob_that_is_shorter_than_it_says_ends_the_upload(
    registry: FakeRegistry, clients: Clients
) -> None:
    short = BytesReader(b"short")
    short.size = 2000
    client = clients.client(f"{registry.address}/demo")

    with pytest.raises(FailedPrecondition, match="content ends at byte 5"):
        clients.upload(client, short, digest=DIGEST)


@pytest.mark.parametrize(
    ("text", "sent", "offset"),
    [
        (None, 5, 5),
        ("", None, None),
        ("0-99", 100, 100),
        ("0-99", 50, 100),
        ("bytes=0-99", None, 100),
        ("bytes 0-99", None, 100),
        ("0-0", 0, 0),
        ("0-0", 1, 1),
        ("0-0", None, 0),
        ("5-9", 3, 3),
        ("0--1", 3, 3),
        ("0-\u0661", 3, 3),
        ("0-" + "9" * 30, 3, 3),
        ("nonsense", None, None),
    ],
)
def test_the_offset_is_read_out_of_whatever_registries_say(
    text: str | None, sent: int | None, offset: int | None
) -> None:
    assert offset_of(text, sent) == offset


def test_an_address_with_a_signature_is_in_no_repr() -> None:
    assert "sig" not in repr(Session(location="https://x/?sig=1", offset=1))
    assert described(DIGEST, 1).digest == DIGEST
