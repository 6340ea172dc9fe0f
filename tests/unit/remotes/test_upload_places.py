"""Upload: to wherever a registry, another repository or an earlier process leads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.remotes.pushing import (
    BLOB,
    CHUNK,
    DIGEST,
    SMALL,
    UPLOADS,
    Clients,
    answer,
    stored,
    wire,
)

from distore.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    Unavailable,
)
from distore.oci.digest import Digest
from distore.registry.message import Handler, Request, Response
from distore.remotes.options import RegistryOptions
from distore.remotes.sessions import FileSessions, Session
from distore.testing import server
from distore.testing.altered import Altered
from distore.testing.server import BytesReader, FakeRegistry


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
