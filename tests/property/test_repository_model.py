"""Whatever is done in whatever order, the repositories on the disk answer as those in memory."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distore.content.blobs import write_blob
from distore.content.local.store import LocalStore
from distore.errors import AlreadyExists
from distore.metadata.db import Metadata
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.repositories import ManifestRecord, Pull
from distore.testing.lease_suite import Clock
from distore.testing.memory_repositories import MemoryRepositories

NAMES = st.sampled_from(["a", "a/b", "b"])
TAGS = st.sampled_from(["1", "2", "latest"])
BLOBS = st.integers(0, 4)
MANIFESTS = st.integers(0, 3)
TYPES = st.sampled_from([None, "a/b", "c/d"])


def blob(number: int) -> bytes:
    return b"blob %d" % number


def manifest(number: int) -> bytes:
    return b"manifest %d" % number


class Pair(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = LocalStore(str(Path(self.folder.name, "store")))
        self.metadata = Metadata(self.store, command="t", now=self.clock)
        self.stored = self.metadata.repositories
        self.model = MemoryRepositories(now=self.clock)
        for number in range(5):
            for data in (blob(number), manifest(number)):
                with suppress(AlreadyExists):
                    write_blob(self.store, "r", data)

    def teardown(self) -> None:
        self.metadata.close()
        self.store.close()
        self.folder.cleanup()

    def both(self, method: str, *words: object, **options: object) -> None:
        answers = [getattr(each, method)(*words, **options) for each in (self.stored, self.model)]
        assert answers[0] == answers[1]

    @rule(name=NAMES, number=BLOBS)
    def add(self, name: str, number: int) -> None:
        self.both("add_blob", name, Digest.of(blob(number)), len(blob(number)))

    @rule(source=st.none() | NAMES, name=NAMES, number=BLOBS)
    def mount(self, source: str | None, name: str, number: int) -> None:
        self.both("mount", source, name, Digest.of(blob(number)))

    @rule(
        name=NAMES,
        number=MANIFESTS,
        children=st.sets(BLOBS, max_size=3),
        subject=st.none() | MANIFESTS,
        artifact_type=TYPES,
        tags=st.sets(TAGS, max_size=2),
        cached=st.booleans(),
        sparse=st.booleans(),
    )
    def put(
        self,
        name: str,
        number: int,
        children: set[int],
        subject: int | None,
        artifact_type: str | None,
        tags: set[str],
        *,
        cached: bool,
        sparse: bool,
    ) -> None:
        data = manifest(number)
        needed = sorted(Digest.of(blob(child)) for child in children)
        record = ManifestRecord(
            descriptor=Descriptor(
                media_type="a/b", digest=Digest.of(data), size=len(data), artifact_type=artifact_type
            ),
            subject=None if subject is None else Digest.of(manifest(subject)),
            children=tuple((digest, 6) for digest in needed),
        )
        self.both(
            "put_manifest", name, record, tags=sorted(tags), needed=() if sparse else needed, cached=cached
        )

    @rule(name=NAMES, tag=TAGS)
    def untag(self, name: str, tag: str) -> None:
        self.both("untag", name, tag)

    @rule(name=NAMES, number=MANIFESTS)
    def delete_manifest(self, name: str, number: int) -> None:
        self.both("delete_manifest", name, Digest.of(manifest(number)))

    @rule(name=NAMES, number=BLOBS)
    def delete_blob(self, name: str, number: int) -> None:
        self.both("delete_blob", name, Digest.of(blob(number)))

    @rule(name=NAMES)
    def forget(self, name: str) -> None:
        self.both("forget", name)

    @rule(name=NAMES, number=MANIFESTS, tag=st.none() | TAGS)
    def pull(self, name: str, number: int, tag: str | None) -> None:
        digest = Digest.of(manifest(number))
        found = self.model.tag(name, tag) if tag is not None else None
        if self.model.manifest(name, digest) and (
            tag is None or (found and found.descriptor.digest == digest)
        ):
            self.both("note_pulled", [Pull(repository=name, digest=digest, when=self.clock.now, tag=tag)])

    @rule(name=NAMES, tag=TAGS)
    def check(self, name: str, tag: str) -> None:
        self.both("note_checked", name, tag, self.clock.now)

    @rule(seconds=st.integers(1, 100))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def answers_are_the_same(self) -> None:
        names = self.model.names()
        assert self.stored.names() == names
        assert self.stored.size() == self.model.size()
        for name in names:
            self.both("usage", name)
            self.both("tags", name)
            self.both("is_cached", name)
            self.both("size", [name])
            assert [plain(each) for each in self.stored.manifests(name)] == [
                plain(each) for each in self.model.manifests(name)
            ]
            for number in range(4):
                self.both("referrers", name, Digest.of(manifest(number)))
                self.both("has", name, Digest.of(blob(number)))
                self.both("owners", Digest.of(blob(number)))


def plain(record: ManifestRecord) -> ManifestRecord:
    return replace(record, children=tuple(sorted(record.children)))


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestPair = pytest.mark.slow(TestPair)
