"""Uploads against a model: whatever clients do, the bytes are those that were accepted."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from distore.content.blobs import read_blob
from distore.content.memory import MemoryStore
from distore.oci.digest import Digest
from distore.registry.message import BytesBody, Request, Response
from distore.registry.routes import PushRegistry
from distore.testing.memory_repositories import MemoryRepositories

REPOSITORIES = ["a", "b/c"]
PIECES = st.binary(max_size=8)


class UploadMachine(RuleBasedStateMachine):
    """The model of a session is the bytes it has taken; that of a repository, its blobs."""

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        numbers = itertools.count()
        self.store = MemoryStore()
        self.registry = PushRegistry(self.store, MemoryRepositories(), new_id=lambda: str(next(numbers)))
        self.open: dict[str, bytes] = {}  # by path
        self.blobs: set[tuple[str, bytes]] = set()

    def ask(self, method: str, path: str, body: bytes = b"", **more: str) -> Response:
        headers = {"content-range": more["range"]} if "range" in more else {}
        query = {name: value for name, value in more.items() if name != "range"}
        return self.registry.handle(
            Request(method=method, path=path, query=query, headers=headers, body=BytesBody(body))
        )

    @rule(target=sessions, repository=st.sampled_from(REPOSITORIES))
    def start(self, repository: str) -> str:
        response = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        path = response.headers["location"].partition("?")[0]
        self.open[path] = b""
        return path

    @rule(path=sessions, data=PIECES, shift=st.integers(-3, 3), ranged=st.booleans())
    def patch(self, path: str, data: bytes, shift: int, ranged: bool) -> None:
        start = len(self.open.get(path, b"")) + shift
        ranged = ranged and bool(data) and start >= 0
        more = {"range": f"{start}-{start + len(data) - 1}"} if ranged else {}

        response = self.ask("PATCH", path, data, **more)

        if path not in self.open:
            assert response.status == 404
        elif ranged and shift:
            assert response.status == 416
        else:
            assert response.status == 202
            self.open[path] += data

    @rule(path=sessions, data=PIECES, right=st.booleans())
    def finish(self, path: str, data: bytes, right: bool) -> None:
        whole = self.open.pop(path, None)
        digest = Digest.of((whole or b"") + data + (b"" if right else b"more"))

        response = self.ask("PUT", path, data, digest=digest)

        if whole is None:
            assert response.status == 404
        elif right:
            assert (response.status, response.headers["docker-content-digest"]) == (201, digest)
            self.blobs.add((path.removeprefix("/v2/").partition("/blobs/")[0], whole + data))
        else:
            assert response.status == 400

    @rule(path=consumes(sessions))
    def cancel(self, path: str) -> None:
        response = self.ask("DELETE", path)

        assert response.status == (404 if self.open.pop(path, None) is None else 204)

    @rule(data=st.data(), source=st.sampled_from(REPOSITORIES), to=st.sampled_from(REPOSITORIES))
    def mount(self, data: st.DataObject, source: str, to: str) -> None:
        blob = data.draw(st.sampled_from(sorted({blob for _, blob in self.blobs} | {b"never pushed"})))
        query = {"mount": Digest.of(blob), "from": source}

        response = self.registry.handle(Request(method="POST", path=f"/v2/{to}/blobs/uploads/", query=query))

        if (source, blob) in self.blobs:
            assert response.status == 201
            self.blobs.add((to, blob))
        else:
            assert response.status == 202
            self.open[response.headers["location"].partition("?")[0]] = b""

    @invariant()
    def sessions_are_where_the_model_is(self) -> None:
        for path, data in self.open.items():
            response = self.ask("GET", path)
            assert response.status == 204
            assert response.headers["range"] == f"0-{max(0, len(data) - 1)}"
            assert response.headers["location"] == f"{path}?_state={len(data)}"
        assert len(list(self.store.statuses())) == len(self.open)

    @invariant()
    def repositories_have_what_was_finished(self) -> None:
        everything = {blob for _, blob in self.blobs}
        for repository in REPOSITORIES:
            for blob in everything:
                found = self.ask("HEAD", f"/v2/{repository}/blobs/{Digest.of(blob)}").status
                assert found == (200 if (repository, blob) in self.blobs else 404)
        for blob in everything:
            assert read_blob(self.store, Digest.of(blob), max_size=10_000) == blob


TestUploads = pytest.mark.slow(UploadMachine.TestCase)
TestUploads.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
