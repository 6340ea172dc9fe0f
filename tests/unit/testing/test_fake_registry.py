"""FakeRegistry as a client sees it that pushes: options, faults and what it remembers."""

from __future__ import annotations

import base64
import http.client
import json
import random
from collections.abc import Callable, Mapping

import pytest

from distore.content.blobs import read_blob
from distore.content.local.store import LocalStore
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry.message import NO_ANSWER
from distore.testing import server
from distore.testing.server import FakeRegistry, Fault

BLOB = random.Random(7).randbytes(100_000)
DIGEST = Digest.of(BLOB)
OTHER = Digest.of(b"other")
Factory = Callable[..., FakeRegistry]
Answer = tuple[int, Mapping[str, str], bytes]


def ask(registry: FakeRegistry, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """Over a connection of its own; underscores in names stand for dashes."""
    connection = http.client.HTTPConnection(registry.address, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body=body, headers=named)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, response.read()
    finally:
        connection.close()


def begin(registry: FakeRegistry) -> str:
    return str(ask(registry, "POST", "/v2/demo/blobs/uploads/")[1]["location"])


def code(answer: Answer) -> str:
    return str(json.loads(answer[2])["errors"][0]["code"])


def test_what_is_pushed_is_there(registry: FakeRegistry) -> None:
    assert ask(registry, "PUT", f"{begin(registry)}&digest={DIGEST}", BLOB)[0] == 201

    assert registry.has("demo", DIGEST)
    assert ask(registry, "GET", f"/v2/demo/blobs/{DIGEST}")[2] == BLOB
    assert (registry.bytes_received, registry.bytes_sent) == (len(BLOB), len(BLOB))
    assert [(seen.method, seen.status) for seen in registry.seen("/uploads/")] == [
        ("POST", 202),
        ("PUT", 201),
    ]


def test_an_image_that_is_offered_is_offered_by_its_repository(registry: FakeRegistry) -> None:
    image = registry.image("demo", "latest", [BLOB])

    answers = [ask(registry, "HEAD", f"/v2/{name}/manifests/{image.digest}") for name in ("demo", "x")]
    assert [answer[0] for answer in answers] == [200, 404]
    assert ask(registry, "HEAD", f"/v2/demo/blobs/{DIGEST}")[0] == 200


def test_any_store_can_keep_the_bytes(registry_factory: Factory, store: LocalStore) -> None:
    registry = registry_factory(store=store)

    ask(registry, "PUT", f"{begin(registry)}&digest={DIGEST}", BLOB)
    registry.offer("other", DIGEST)

    assert read_blob(store, DIGEST, max_size=len(BLOB)) == BLOB
    assert ask(registry, "GET", f"/v2/other/blobs/{DIGEST}")[2] == BLOB


def test_an_upload_that_is_not_finished_ends_with_the_registry(store: LocalStore) -> None:
    with FakeRegistry(store=store) as registry:
        ask(registry, "PATCH", begin(registry), BLOB)
        assert [status.offset for status in store.statuses()] == [len(BLOB)]

    assert list(store.statuses()) == []


def test_bytes_may_belie_their_digest_in_every_repository(registry: FakeRegistry) -> None:
    registry.repositories["a"] = {}
    registry.blobs.data[OTHER] = BLOB

    assert ask(registry, "GET", f"/v2/a/blobs/{OTHER}")[2] == BLOB

    assert (registry.blobs.data.pop(OTHER), OTHER in registry.blobs.data) == (BLOB, False)
    with pytest.raises(KeyError):
        del registry.blobs.data[OTHER]


def test_the_blobs_are_those_of_the_store_and_the_others(registry: FakeRegistry) -> None:
    registry.put("a", BLOB)
    registry.blobs.data[OTHER] = b"x"

    assert dict(registry.blobs.data) == {OTHER: b"x", DIGEST: BLOB}
    assert len(registry.blobs.data) == 2


def test_a_manifest_that_is_offered_may_refer(registry: FakeRegistry) -> None:
    subject = {"mediaType": mediatypes.OCI_MANIFEST, "digest": OTHER, "size": 5}
    index = {"schemaVersion": 2, "manifests": [], "subject": subject}
    tagged = registry.tag("demo", "sbom", json.dumps(index).encode(), mediatypes.OCI_INDEX)

    found = json.loads(ask(registry, "GET", f"/v2/demo/referrers/{OTHER}")[2])["manifests"]

    assert [entry["digest"] for entry in found] == [tagged.digest]


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("offset", [0, 1, 70_000, len(BLOB)])
def test_a_dropped_upload_keeps_what_came(registry: FakeRegistry, method: str, offset: int) -> None:
    location = begin(registry)
    registry.inject(server.drop_upload_at(offset), path="/uploads/")

    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(registry, method, f"{location}&digest={DIGEST}", BLOB)

    assert registry.requests[-1].status == NO_ANSWER
    assert registry.bytes_received == offset
    assert ask(registry, "GET", location)[1]["range"] == f"0-{max(0, offset - 1)}"
    assert ask(registry, "PUT", f"{location}&digest={DIGEST}", BLOB[offset:])[0] == 201


def test_a_body_that_ends_before_the_drop_is_answered(registry: FakeRegistry) -> None:
    location = begin(registry)
    registry.inject(server.drop_upload_at(len(BLOB) + 1), path="/uploads/")

    assert ask(registry, "PATCH", location, BLOB)[0] == 202


def test_an_answer_can_be_lost_when_all_is_done(registry: FakeRegistry) -> None:
    location = begin(registry)
    registry.inject(server.drop_answer(), method="PUT")

    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(registry, "PUT", f"{location}&digest={DIGEST}", BLOB)

    assert registry.has("demo", DIGEST)
    assert code(ask(registry, "PUT", f"{location}&digest={DIGEST}", BLOB)) == "BLOB_UPLOAD_UNKNOWN"


def test_a_lost_session_is_lost_for_good(registry: FakeRegistry) -> None:
    location = begin(registry)
    registry.inject(server.lose_session(), method="PATCH")

    answers = [ask(registry, "PATCH", location, BLOB), ask(registry, "GET", location)]

    assert [answer[0] for answer in answers] == [404, 404]
    assert code(answers[0]) == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize(
    ("fault", "status"), [(server.throttled(1), 429), (server.refuse(403), 403), (server.unavailable(), 503)]
)
def test_a_refused_upload_takes_nothing_and_goes_on(
    registry: FakeRegistry, fault: Fault, status: int
) -> None:
    location = begin(registry)
    registry.inject(fault, path="/uploads/")

    assert ask(registry, "PATCH", location, BLOB)[0] == status
    assert registry.bytes_received == 0
    assert ask(registry, "PATCH", location, BLOB)[0] == 202


def test_a_fault_may_be_for_one_method(registry: FakeRegistry) -> None:
    registry.inject(server.unavailable(), method="PUT", times=None)

    assert ask(registry, "GET", "/v2/")[0] == 200
    assert ask(registry, "PUT", "/v2/demo/manifests/x")[0] == 503


@pytest.mark.parametrize(
    ("options", "method", "path", "status"),
    [
        ({"referrers": False}, "GET", f"/v2/demo/referrers/{OTHER}", 404),
        ({}, "GET", f"/v2/demo/referrers/{OTHER}", 200),
        ({"mount": False}, "POST", f"/v2/x/blobs/uploads/?mount={DIGEST}&from=demo", 202),
        ({}, "POST", f"/v2/x/blobs/uploads/?mount={DIGEST}&from=demo", 201),
        ({"chunked": False}, "PATCH", "/v2/demo/blobs/uploads/x", 405),
        ({}, "PATCH", "/v2/demo/blobs/uploads/x", 404),
    ],
)
def test_a_registry_may_be_an_old_one(
    registry_factory: Factory, options: dict[str, bool], method: str, path: str, status: int
) -> None:
    registry = registry_factory(**options)
    registry.put("demo", BLOB)

    assert ask(registry, method, path)[0] == status


def test_users_are_asked_for_their_password(registry_factory: Factory) -> None:
    registry = registry_factory(users={"ann": "pw"})
    good = "Basic " + base64.b64encode(b"ann:pw").decode()

    assert ask(registry, "GET", "/v2/")[1]["www-authenticate"] == 'Basic realm="distore"'
    assert ask(registry, "GET", "/v2/", authorization=good)[0] == 200


def test_users_get_tokens_that_end(registry_factory: Factory) -> None:
    now = [0.0]
    registry = registry_factory(
        with_tokens=True,
        users={"ann": "pw"},
        refresh_tokens={"r": "ann"},
        token_lifetime=5,
        clock=lambda: now[0],
    )
    form = b"grant_type=refresh_token&refresh_token=r&scope=repository:demo:pull,push"
    token = json.loads(ask(registry, "POST", "/token", form)[2])["access_token"]
    shown = f"Bearer {token}"

    assert ask(registry, "POST", "/v2/demo/blobs/uploads/", authorization=shown)[0] == 202
    now[0] = 5.0
    assert ask(registry, "POST", "/v2/demo/blobs/uploads/", authorization=shown)[0] == 401
