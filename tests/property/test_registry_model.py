"""A registry against a model: what was pushed, tagged, mounted and deleted is what everybody sees."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry.message import BytesBody, Request, Response, Slice
from distore.registry.routes import PushRegistry
from distore.testing.memory_repositories import MemoryRepositories

NAMES = ["a", "a/b", "c"]
BLOBS = [b"{}", b"one", b"two"]
TAGS = ["1", "2", "latest"]
names, blobs, tags = st.sampled_from(NAMES), st.sampled_from(BLOBS), st.sampled_from(TAGS)


def image(number: int, parts: tuple[bytes, ...], subject: bytes | None) -> bytes:
    """A manifest of ``parts``; the first is the config."""
    described = [{"mediaType": "text/plain", "digest": Digest.of(part), "size": len(part)} for part in parts]
    about = {"mediaType": mediatypes.OCI_MANIFEST, "digest": Digest.of(subject or b""), "size": 1}
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": described[0],
        "layers": described[1:],
        "annotations": {"number": str(number)},
        **({} if subject is None else {"subject": about}),
    }
    return json.dumps(document).encode()


MANIFESTS = {
    image(number, parts, subject): (parts, subject)
    for number, (parts, subject) in enumerate(
        [
            ((BLOBS[0],), None),
            ((BLOBS[0], BLOBS[1]), None),
            ((BLOBS[0], BLOBS[1], BLOBS[2]), None),
            ((BLOBS[0],), b"nobody"),
            ((BLOBS[2],), b"nobody"),
        ]
    )
}
manifests = st.sampled_from(sorted(MANIFESTS))


class RegistryMachine(RuleBasedStateMachine):
    """The model of a repository: its blobs, its manifests, and what its tags name."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = ExitStack()
        self.registry = self.make()
        self.blobs: dict[str, set[bytes]] = {}
        self.manifests: dict[str, set[bytes]] = {}
        self.tags: dict[str, dict[str, bytes]] = {}

    def make(self) -> PushRegistry:
        return PushRegistry(MemoryStore(), MemoryRepositories())

    def teardown(self) -> None:
        self.registry.close()
        self.closing.close()

    def ask(self, method: str, path: str, body: bytes = b"", **query: str) -> Response:
        """What is at hand is the same as what is looked up."""

        def request() -> Request:
            return Request(method=method, path=f"/v2/{path}", query=query, body=BytesBody(body))

        quick = self.registry.quick(request())
        response = self.registry.handle(request())
        if isinstance(response.body, Slice):
            with response.body.reader as reader:
                data = reader.read_at(response.body.length, response.body.start)
            response = Response(status=response.status, headers=response.headers, body=data)
        if quick is not None:
            assert (quick.status, quick.body or response.body) == (response.status, response.body)
        return response

    def has(self, name: str, data: bytes) -> bool:
        return data in self.blobs.get(name, set()) or data in self.manifests.get(name, set())

    @rule(name=names, data=blobs)
    def push_blob(self, name: str, data: bytes) -> None:
        assert self.ask("POST", f"{name}/blobs/uploads/", data, digest=Digest.of(data)).status == 201
        self.add(name).add(data)

    @rule(name=names, source=names, data=blobs)
    def mount_blob(self, name: str, source: str, data: bytes) -> None:
        query = {"mount": Digest.of(data), "from": source}
        response = self.ask("POST", f"{name}/blobs/uploads/", b"", **query)

        assert response.status == (201 if self.has(source, data) else 202)
        if self.has(source, data):
            self.add(name).add(data)

    @rule(name=names, data=blobs)
    def delete_blob(self, name: str, data: bytes) -> None:
        there = data in self.blobs.get(name, set())

        assert self.ask("DELETE", f"{name}/blobs/{Digest.of(data)}").status == (202 if there else 404)
        if there:
            self.blobs[name].remove(data)

    @rule(name=names, data=manifests, tag=st.none() | tags)
    def push_manifest(self, name: str, data: bytes, tag: str | None) -> None:
        parts, subject = MANIFESTS[data]
        whole = all(self.has(name, part) for part in parts)

        response = self.ask("PUT", f"{name}/manifests/{tag or Digest.of(data)}", data)

        assert response.status == (201 if whole else 404)
        if whole:
            about = None if subject is None else str(Digest.of(subject))
            assert response.headers.get("oci-subject") == about
            self.add(name)
            self.manifests[name].add(data)
            if tag is not None:
                self.tags[name][tag] = data

    @rule(name=names, tag=tags)
    def delete_tag(self, name: str, tag: str) -> None:
        there = self.tags.get(name, {}).pop(tag, None) is not None

        assert self.ask("DELETE", f"{name}/manifests/{tag}").status == (202 if there else 404)

    @rule(name=names, data=manifests)
    def delete_manifest(self, name: str, data: bytes) -> None:
        there = data in self.manifests.get(name, set())

        assert self.ask("DELETE", f"{name}/manifests/{Digest.of(data)}").status == (202 if there else 404)
        if there:
            self.manifests[name].remove(data)
            self.tags[name] = {tag: named for tag, named in self.tags[name].items() if named != data}

    @rule(name=names, data=blobs, last=st.sampled_from(["", *NAMES, *TAGS]), n=st.integers(0, 4))
    def list_some(self, name: str, data: bytes, last: str, n: int) -> None:
        found = self.ask("GET", "_catalog", last=last, n=str(n)).body
        assert isinstance(found, bytes)
        assert json.loads(found)["repositories"] == [name for name in sorted(self.blobs) if name > last][:n]
        if name in self.tags:
            found = self.ask("GET", f"{name}/tags/list", last=last, n=str(n)).body
            assert isinstance(found, bytes)
            assert json.loads(found)["tags"] == [tag for tag in sorted(self.tags[name]) if tag > last][:n]

    @precondition(lambda self: self.blobs)
    @invariant()
    def everybody_sees_what_the_model_has(self) -> None:
        for name in NAMES:
            for data in BLOBS:
                found = self.ask("HEAD", f"{name}/blobs/{Digest.of(data)}")
                assert found.status == (200 if self.has(name, data) else 404)
            for data in MANIFESTS:
                found = self.ask("GET", f"{name}/manifests/{Digest.of(data)}")
                assert found.status == (200 if data in self.manifests.get(name, set()) else 404)
                assert found.status == 404 or found.body == data
            for tag in TAGS:
                named = self.tags.get(name, {}).get(tag)
                found = self.ask("GET", f"{name}/manifests/{tag}")
                assert (found.status == 404) if named is None else (found.body == named)

    @precondition(lambda self: self.blobs)
    @invariant()
    def referrers_are_the_manifests_with_the_subject(self) -> None:
        for name in NAMES:
            found = self.ask("GET", f"{name}/referrers/{Digest.of(b'nobody')}").body
            assert isinstance(found, bytes)
            wanted = {Digest.of(data) for data in self.manifests.get(name, set()) if MANIFESTS[data][1]}
            assert {entry["digest"] for entry in json.loads(found)["manifests"]} == wanted

    def add(self, name: str) -> set[bytes]:
        self.manifests.setdefault(name, set())
        self.tags.setdefault(name, {})
        return self.blobs.setdefault(name, set())


class StoredMachine(RegistryMachine):
    """The same on a disk, with the database's version for what is at hand."""

    def make(self) -> PushRegistry:
        folder = self.closing.enter_context(tempfile.TemporaryDirectory())
        store = LocalStore(f"{folder}/store")
        self.closing.callback(store.close)
        metadata = Metadata(store, command="model")
        self.closing.callback(metadata.close)
        return PushRegistry(store, metadata.repositories)


TestRegistry = pytest.mark.slow(RegistryMachine.TestCase)
TestRegistry.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestStoredRegistry = pytest.mark.slow(StoredMachine.TestCase)
TestStoredRegistry.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
