"""Any sequence of operations on several ingests, against a model of plain dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from distore import errors
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.oci.digest import Digest

REFS = ("a", "b/../c", "ü")
DATA = st.one_of(st.binary(max_size=64), st.integers(0, 3).map(lambda n: bytes([n]) * 150_000))


class StoreMachine(RuleBasedStateMachine):
    """Writers stay open over several steps; ``reopen`` is another process."""

    def make(self) -> Any:
        return MemoryStore()

    def other(self) -> Any:
        return self.store

    @initialize()
    def begin(self) -> None:
        self.store = self.make()
        self.ingests: dict[str, bytes] = {}
        self.blobs: set[bytes] = set()
        self.writers: dict[str, Any] = {}

    @rule(ref=st.sampled_from(REFS))
    def open(self, ref: str) -> None:
        if ref in self.writers:
            try:
                self.other().writer(ref)
            except errors.Locked:
                return
            raise AssertionError("two writers of one ref")
        self.writers[ref] = self.store.writer(ref)
        assert self.writers[ref].offset == len(self.ingests.setdefault(ref, b""))

    @rule(ref=st.sampled_from(REFS), data=DATA, kind=st.sampled_from([bytes, bytearray, memoryview]))
    def write(self, ref: str, data: bytes, kind: Any) -> None:
        if ref in self.writers:
            self.writers[ref].write(kind(data))
            self.ingests[ref] += data

    @rule(ref=st.sampled_from(REFS), data=st.binary(min_size=2, max_size=50), cut=st.integers(1, 49))
    def write_out_of_order(self, ref: str, data: bytes, cut: int) -> None:
        if ref in self.writers:
            cut, start = min(cut, len(data) - 1), len(self.ingests[ref])
            self.writers[ref].write_at(data[cut:], start + cut)
            assert self.writers[ref].offset == start
            self.writers[ref].write_at(data[:cut], start)
            self.ingests[ref] += data

    @rule(ref=st.sampled_from(REFS), share=st.floats(0, 1))
    def truncate(self, ref: str, share: float) -> None:
        if ref in self.writers:
            size = int(len(self.ingests[ref]) * share)
            self.writers[ref].truncate(size)
            self.ingests[ref] = self.ingests[ref][:size]

    @rule(ref=st.sampled_from(REFS))
    def digest(self, ref: str) -> None:
        if ref in self.writers:
            assert self.writers[ref].digest() == Digest.of(self.ingests[ref])

    @rule(ref=st.sampled_from(REFS), wrong=st.booleans())
    def commit(self, ref: str, wrong: bool) -> None:
        if ref not in self.writers:
            return
        writer, data = self.writers.pop(ref), self.ingests[ref]
        try:
            assert writer.commit(size=len(data) + wrong) == Digest.of(data)
        except errors.SizeMismatch:
            assert wrong
            return
        except errors.AlreadyExists:
            assert data in self.blobs
        assert not wrong
        self.blobs.add(data)
        del self.ingests[ref]

    @rule(ref=st.sampled_from(REFS))
    def close(self, ref: str) -> None:
        if ref in self.writers:
            self.writers.pop(ref).close()

    @rule(ref=st.sampled_from(REFS))
    def abort(self, ref: str) -> None:
        try:
            self.other().abort(ref)
        except errors.Locked:
            assert ref in self.writers
        except errors.NotFound:
            assert ref not in self.ingests
        else:
            del self.ingests[ref]

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if self.blobs:
            blob = data.draw(st.sampled_from(sorted(self.blobs)))
            self.other().delete(Digest.of(blob))
            self.blobs.discard(blob)

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        other = self.other()
        assert {info.digest for info in other.walk()} == {Digest.of(blob) for blob in self.blobs}
        offsets = {status.ref: status.offset for status in other.statuses()}
        assert offsets == {ref: len(data) for ref, data in self.ingests.items()}
        assert {s.ref for s in other.statuses() if s.owner} == set(self.writers)

    def teardown(self) -> None:
        for writer in getattr(self, "writers", {}).values():
            writer.close()


class LocalMachine(StoreMachine):
    """The same on disk."""

    def make(self) -> Any:
        self.folder = tempfile.mkdtemp()
        return LocalStore(self.folder + "/store", sleep=lambda seconds: None)

    def other(self) -> Any:
        return LocalStore(self.store.root, sleep=lambda seconds: None)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


_SETTINGS = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestMemoryStore = StoreMachine.TestCase
TestMemoryStore.settings = _SETTINGS
TestLocalStore = LocalMachine.TestCase
TestLocalStore.settings = _SETTINGS
