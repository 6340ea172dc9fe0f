"""Uploads over a network and a registry that fail between any two steps, and in them."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.unit.remotes.pushing import CHUNK, Clients

from distore.content.blobs import read_blob
from distore.errors import DistoreError
from distore.oci.digest import Digest
from distore.registry.message import BytesBody, Handler, Request, Response
from distore.remotes.sessions import Session
from distore.testing import server
from distore.testing.server import FakeRegistry, Fault

SIZES = st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1, 3 * CHUNK])
METHODS = st.sampled_from([None, "POST", "PATCH", "PUT", "GET", "HEAD"])
STATUSES = st.sampled_from([400, 401, 403, 404, 405, 413, 416, 418, 429, 500, 501, 503, 507])


def take_a_part(size: int) -> Fault:
    """Only ``size`` bytes of a chunk are taken, and that is said."""

    def act(request: Request, handler: Handler) -> Response:
        if request.method != "PATCH":
            return handler(request)
        body = b""
        while piece := request.body.read(1 << 20):
            body += piece
        headers = {name: text for name, text in request.headers.items() if not name.startswith("content-")}
        return handler(replace(request, body=BytesBody(body[:size]), headers=headers))

    return act


def refuse_after_all(status: int) -> Fault:
    """It is done as asked, and the answer says that it was not."""

    def act(request: Request, handler: Handler) -> Response:
        handler(request).close()
        return Response(status=status)

    return act


FAULTS = st.one_of(
    STATUSES.map(server.refuse),
    STATUSES.map(refuse_after_all),
    st.integers(0, CHUNK).map(server.drop_upload_at),
    st.integers(0, CHUNK).map(take_a_part),
    st.sampled_from(
        [
            server.drop_answer(),
            server.lose_session(),
            server.with_headers(range="0-0"),
            server.with_headers(range="0-499"),
            server.with_headers(range="0-99999999"),
            server.with_headers(range="nonsense"),
            server.with_headers(location="/v2/demo/blobs/uploads/none"),
            server.with_headers(location="http://["),
        ]
    ),
)


class Kept:
    """Sessions in memory."""

    def __init__(self) -> None:
        self.sessions: dict[tuple[str, Digest], Session] = {}

    def take(self, repository: str, digest: Digest, /) -> Session | None:
        return self.sessions.pop((repository, digest), None)

    def keep(self, repository: str, digest: Digest, session: Session, /) -> None:
        self.sessions[repository, digest] = session

    def forget(self, repository: str, digest: Digest, /) -> None:
        self.sessions.pop((repository, digest), None)


class UploadSessionMachine(RuleBasedStateMachine):
    """Whatever happens, an upload ends with the right blob there or with an error of ours; a registry
    that is well again gets the blob."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = Kept()
        self.clients = Clients(attempts=3)
        self.number = 0
        self.faults: list[tuple[str | None, Fault]] = []
        self.registry: FakeRegistry | None = None

    @initialize(
        chunked=st.booleans(),
        min_chunk=st.sampled_from([None, 700, 1500]),
        mount=st.booleans(),
        with_tokens=st.booleans(),
    )
    def begin(self, chunked: bool, min_chunk: int | None, mount: bool, with_tokens: bool) -> None:
        self.registry = FakeRegistry(
            chunked=chunked, min_chunk=min_chunk, mount=mount, with_tokens=with_tokens
        )
        self.registry.start()
        self.registry.inject(self.misbehave, path="/blobs/", times=None)
        self.client = self.clients.client(f"{self.registry.address}/demo")

    def misbehave(self, request: Request, handler: Handler) -> Response:
        for number, (method, fault) in enumerate(self.faults):
            if method in (None, request.method):
                del self.faults[number]
                return fault(request, handler)
        return handler(request)

    @rule(
        size=SIZES,
        faults=st.lists(st.tuples(METHODS, FAULTS), max_size=6),
        again=st.booleans(),
        elsewhere=st.booleans(),
    )
    def upload(self, size: int, faults: list[tuple[str | None, Fault]], again: bool, elsewhere: bool) -> None:
        assert self.registry is not None
        self.number += not again
        data = (self.number.to_bytes(4, "big") * (size // 4 + 1))[:size]
        if elsewhere:
            self.registry.put("other", data)
        self.faults = list(faults)

        try:
            self.clients.upload(self.client, data, sources=["other"], sessions=self.kept)
        except DistoreError as error:
            assert "\n" not in str(error)
        else:
            self.is_right(data)

        self.faults = []
        self.clients.upload(self.client, data, sources=["other"], sessions=self.kept)
        self.is_right(data)
        assert self.kept.sessions == {}

    def is_right(self, data: bytes) -> None:
        assert self.registry is not None
        digest = Digest.of(data)
        assert self.registry.has("demo", digest)
        assert read_blob(self.registry.store, digest, max_size=10_000) == data

    def teardown(self) -> None:
        with self.clients:
            if self.registry is not None:
                self.registry.stop()


TestUploadSessions = pytest.mark.slow(UploadSessionMachine.TestCase)
TestUploadSessions.settings = settings(max_examples=60, stateful_step_count=8, deadline=None)
