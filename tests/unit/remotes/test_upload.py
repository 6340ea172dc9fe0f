"""Upload: one blob into a registry, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.remotes.pushing import (
    BLOB,
    DIGEST,
    SMALL,
    UPLOADS,
    Clients,
    answer,
    described,
    ranges,
    stored,
    wire,
)

from distore.errors import (
    Unavailable,
)
from distore.oci.digest import Digest
from distore.registry.message import BytesBody, Handler, Request, Response
from distore.remotes.http.upload import offset_of
from distore.remotes.sessions import Session
from distore.testing import server
from distore.testing.server import FakeRegistry, Fault


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
