"""Any sequence of operations on a store, against a model of it made of plain buffers."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from distore._internal import fsops
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import (
    AlreadyExists,
    DigestMismatch,
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    Locked,
    NotFound,
    OutOfRange,
    SizeMismatch,
)
from distore.oci.digest import HEX_LENGTHS, Digest
from distore.testing import strategies

if TYPE_CHECKING:
    from collections.abc import Callable

REFS = st.sampled_from(["one", "dir/../zw\u00f6lf"])
# Few and alike, so that different histories end in the same blob; the long one is hashed on a
# thread of the writer's own, the short ones are not.
PIECES = st.sampled_from([b"", b"a", b"ab", b"b" * 5000, b"a" * 140_000])
PROMISES = [Digest.of(data, algorithm=name) for data in (b"", b"a", b"ab") for name in HEX_LENGTHS]
NOWHERE = Digest.of(b"never stored")


@dataclass
class Ingest:
    """One ingest, told by a map of the bytes that are there."""

    data: bytearray = field(default_factory=bytearray)
    there: bytearray = field(default_factory=bytearray)  # 1 where data has a byte
    total: int | None = None
    expected: Digest | None = None
    writer: Any = None

    @property
    def offset(self) -> int:
        gap = self.there.find(0)
        return len(self.there) if gap < 0 else gap

    @property
    def kept(self) -> bytes:
        return bytes(self.data[: self.offset])

    @property
    def has_gap(self) -> bool:
        return self.offset < len(self.there)

    def put(self, data: bytes, at: int) -> None:
        if data:
            missing = max(0, at + len(data) - len(self.data))
            self.data += bytes(missing)
            self.there += bytes(missing)
            self.data[at : at + len(data)] = data
            self.there[at : at + len(data)] = b"\1" * len(data)

    def cut(self, size: int) -> None:
        del self.data[size:], self.there[size:]

    def close(self) -> None:
        self.cut(self.offset)
        self.writer = None


@dataclass
class Blob:
    data: bytes
    labels: dict[str, str]


class Machine(RuleBasedStateMachine):
    """A store and its model side by side; ``other`` is the store as another process has it."""

    def __init__(self) -> None:
        super().__init__()
        self.ingests: dict[str, Ingest] = {}
        self.blobs: dict[Digest, Blob] = {}
        self.store: Any = self.opened()

    def opened(self) -> MemoryStore | LocalStore:
        return MemoryStore()

    @property
    def other(self) -> Any:
        return self.store

    def running(self, ref: str) -> bool:
        return ref in self.ingests and self.ingests[ref].writer is not None

    def writing(self, ref: str) -> Ingest:
        """The ingest and its writer; opened when nobody holds it, so that most steps do something."""
        if not self.running(ref):
            self.open_writer(ref, None, None)
        return self.ingests[ref]

    def open_writer(self, ref: str, total: int | None, expected: Digest | None) -> None:
        ingest = self.ingests.setdefault(ref, Ingest())
        ingest.writer = self.store.writer(ref, total=total, expected=expected)
        ingest.total = ingest.total if total is None else total
        ingest.expected = ingest.expected if expected is None else expected

    @rule(ref=REFS, total=st.sampled_from([None, 1, 5000]), expected=st.sampled_from([None, None, *PROMISES]))
    def open(self, ref: str, total: int | None, expected: Digest | None) -> None:
        refusals: tuple[type[DistoreError], ...] = ()
        if expected in self.blobs:
            refusals += (AlreadyExists,)
        if self.running(ref):
            refusals += (Locked,)
        if refusals:
            with pytest.raises(refusals):
                self.other.writer(ref, total=total, expected=expected)
        else:
            self.open_writer(ref, total, expected)

    @rule(ref=REFS, piece=PIECES, kind=st.sampled_from([bytes, bytearray, memoryview]))
    def write(self, ref: str, piece: bytes, kind: Callable[[bytes], Any]) -> None:
        ingest, given = self.writing(ref), kind(piece)
        at = ingest.offset

        assert ingest.writer.write(given) == len(piece)

        if isinstance(given, bytearray):
            given[:] = b"!" * len(given)  # the writer must be done with it
        ingest.put(piece, at)

    @rule(ref=REFS, piece=PIECES, ahead=st.sampled_from([0, 1, 4999]))
    def write_ahead(self, ref: str, piece: bytes, ahead: int) -> None:
        ingest = self.writing(ref)
        at = ingest.offset + ahead

        assert ingest.writer.write_at(piece, at) == len(piece)

        ingest.put(piece, at)

    @rule(ref=REFS, back=st.integers(1, 5001))
    def write_behind(self, ref: str, back: int) -> None:
        ingest = self.writing(ref)
        with pytest.raises(OutOfRange):
            ingest.writer.write_at(b"x", ingest.offset - back)

    @rule(ref=REFS, part=st.sampled_from([0.0, 0.5, 1.0]))
    def truncate(self, ref: str, part: float) -> None:
        ingest = self.writing(ref)
        size = round(ingest.offset * part)

        ingest.writer.truncate(size)

        ingest.cut(size)

    @rule(ref=REFS, beyond=st.booleans())
    def truncate_out_of_range(self, ref: str, beyond: bool) -> None:
        ingest = self.writing(ref)
        with pytest.raises(OutOfRange if beyond else InvalidArgument):
            ingest.writer.truncate(ingest.offset + 1 if beyond else -1)

    @rule(ref=REFS)
    def digest(self, ref: str) -> None:
        ingest = self.writing(ref)
        algorithm = ingest.expected.algorithm if ingest.expected else "sha256"

        assert ingest.writer.digest() == Digest.of(ingest.kept, algorithm=algorithm)

    @rule(
        ref=REFS,
        size=st.sampled_from(["unknown", "right", "wrong"]),
        promise=st.sampled_from(["unknown", "wrong", *HEX_LENGTHS]),
        labels=strategies.labels(),
    )
    def commit(self, ref: str, size: str, promise: str, labels: dict[str, str]) -> None:
        ingest = self.writing(ref)
        wanted = {"unknown": None, "right": ingest.offset, "wrong": ingest.offset + 1}[size]
        expected = NOWHERE if promise == "wrong" else None
        if promise in HEX_LENGTHS:
            expected = Digest.of(ingest.kept, algorithm=promise)
        owed = expected or ingest.expected
        actual = Digest.of(ingest.kept, algorithm=owed.algorithm if owed else "sha256")

        error = self.refusal(ingest, wanted, owed, actual)
        if error is None:
            assert ingest.writer.commit(size=wanted, expected=expected, labels=labels) == actual
            self.blobs[actual] = Blob(ingest.kept, labels)
        else:
            with pytest.raises(error):
                ingest.writer.commit(size=wanted, expected=expected, labels=labels)

        if error in (None, AlreadyExists):
            del self.ingests[ref]
        ingest.close()

    def refusal(
        self, ingest: Ingest, size: int | None, owed: Digest | None, actual: Digest
    ) -> type[DistoreError] | None:
        if ingest.has_gap:
            return FailedPrecondition
        if size is not None and size != ingest.offset:
            return SizeMismatch
        if owed is not None and owed != actual:
            return DigestMismatch
        return AlreadyExists if actual in self.blobs else None

    @rule(ref=REFS)
    def close(self, ref: str) -> None:
        if self.running(ref):
            self.ingests[ref].writer.close()
            self.ingests[ref].close()

    @rule(ref=REFS)
    def abort(self, ref: str) -> None:
        if ref in self.ingests and not self.running(ref):
            self.other.abort(ref)
            del self.ingests[ref]
        else:
            with pytest.raises(Locked if self.running(ref) else NotFound):
                self.other.abort(ref)

    @precondition(lambda self: self.blobs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(self.blobs)))

        self.other.delete(digest)

        del self.blobs[digest]
        with pytest.raises(NotFound):
            self.store.delete(digest)

    @precondition(lambda self: self.blobs)
    @rule(data=st.data(), new=strategies.labels(), paths=st.sampled_from(["", "a", "a a.b", "labels"]))
    def label(self, data: st.DataObject, new: dict[str, str], paths: str) -> None:
        digest = data.draw(st.sampled_from(sorted(self.blobs)))
        blob, before = self.blobs[digest], self.store.info(digest)
        keys = [] if paths == "labels" else paths.split()

        after = self.other.update(
            before._replace(labels=new),
            *(["labels"] if paths == "labels" else [f"labels.{key}" for key in keys]),
        )

        changed = {key: value for key, value in blob.labels.items() if key not in keys}
        changed |= {key: new[key] for key in keys if key in new}
        blob.labels = changed if keys else new
        assert after.labels == blob.labels
        assert before.updated <= after.updated

    @invariant()
    def ingests_agree(self) -> None:
        found = {status.ref: status for status in self.other.statuses()}
        assert found.keys() == self.ingests.keys()
        for ref, ingest in self.ingests.items():
            status = found[ref]
            assert (status.total, status.expected) == (ingest.total, ingest.expected)
            assert status.started <= status.updated
            assert (status.owner is not None) is (ingest.writer is not None)
            # While bytes wait behind a gap a listing may lag, for a crash would keep no more.
            assert status.offset == ingest.offset or (ingest.has_gap and status.offset < ingest.offset)
            if ingest.writer is not None:
                assert ingest.writer.offset == ingest.writer.status().offset == ingest.offset

    @invariant()
    def blobs_agree(self) -> None:
        found = {info.digest: info for info in self.other.walk()}
        assert found.keys() == self.blobs.keys()
        for digest, blob in self.blobs.items():
            assert found[digest] == self.store.info(digest)
            assert found[digest].labels == blob.labels
            with self.other.reader(digest) as reader:
                assert found[digest].size == reader.size == len(blob.data)
                assert reader.read_at(reader.size, 0) == blob.data

    def teardown(self) -> None:
        for ingest in self.ingests.values():
            if ingest.writer is not None:
                ingest.writer.close()


class LocalMachine(Machine):
    """The same on disk, looked at through a second handle that sees only what is in the files."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.second = self.opened()
        super().__init__()

    def opened(self) -> LocalStore:
        return LocalStore(self.folder + "/store", sleep=lambda seconds: None)

    @property
    def other(self) -> LocalStore:
        return self.second

    @rule()
    def reopen(self) -> None:
        """Open writers stay; what they did is not in the memory of the handle that goes on."""
        self.second.close()
        self.second = self.opened()

    def teardown(self) -> None:
        super().teardown()
        self.store.close()
        self.second.close()
        shutil.rmtree(self.folder)


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "runs"), [(Machine, 100), (LocalMachine, 40)], ids=["memory", "local"])
def test_a_store_does_what_its_model_does(
    machine: type[Machine], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsops, "sync_file", lambda fd: None)  # tests/fault is about what is durable
    monkeypatch.setattr(fsops, "sync_directory", lambda path: None)

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.slow
@settings(deadline=None)
@given(data=st.data(), blob=strategies.blobs(), ref=strategies.refs(), labels=strategies.labels())
def test_pieces_in_any_order_with_resumes_between_make_the_blob(
    data: st.DataObject, blob: bytes, ref: str, labels: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for store in (MemoryStore(), LocalStore(folder)):
            left = data.draw(strategies.splits(blob))
            while left:
                batch = data.draw(st.permutations(left))[: data.draw(st.integers(1, len(left)))]
                with store.writer(ref) as writer:
                    for start, piece in batch:
                        writer.write_at(piece, start)
                    kept = writer.offset
                assert store.status(ref).offset == kept
                left = [(start, piece) for start, piece in left if start + len(piece) > kept]

            with store.writer(ref) as writer:
                digest = writer.commit(size=len(blob), labels=labels)

            assert digest == Digest.of(blob)
            assert store.info(digest).labels == labels
            if isinstance(store, LocalStore):
                store.close()


@given(ref=strategies.bad_refs())
def test_a_bad_ref_is_refused_in_one_printable_line(ref: str) -> None:
    for call in (MemoryStore().writer, MemoryStore().status, MemoryStore().abort, MemoryStore().follow):
        with pytest.raises(InvalidArgument) as caught:
            call(ref)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 700
