"""Transfers that stop at an awkward moment, or beside somebody who does not move."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.transfer.conftest import Puller
from tests.unit.transfer.download_steps import Fetcher, Terms
from tests.unit.transfer.pull_images import BIG, LAYERS, image, index, keep, of, ref, workers

from distore._internal import filelock, pool
from distore.content.blobs import read_blob
from distore.content.local.hashing import FrontierHasher
from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore, MemoryWriter
from distore.content.store import Owner, Status
from distore.errors import Locked
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.remotes.refkey import ref_key
from distore.testing.server import FakeRegistry
from distore.transfer.crew import Crew
from distore.transfer.pace import Stop, Throttle
from distore.transfer.progress import Done, Event, Moved, Noted
from distore.transfer.push import PushOptions, push
from distore.transfer.storesink import StoreSink

SLOW: float = 1.5  # seconds after which what hangs is let go, so that a failure ends, too


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "local"))


def close(events: Iterator[Event]) -> float:
    """Close a transfer; the seconds that it took."""
    started = time.monotonic()
    events.close()  # type: ignore[attr-defined]  # it is a generator
    return time.monotonic() - started


def hold(store: Any, name: str) -> Any:
    """Somebody holds an ingest and does nothing, for SLOW seconds."""
    writer = store.writer(name)
    threading.Timer(SLOW, writer.close).start()
    return writer


class TestOwnersThatDoNotMove:
    """Whoever waits for one can still be stopped."""

    def test_a_pull_ends_beside_an_owner_that_has_no_byte_yet(
        self, registry: FakeRegistry, root: Descriptor, bring: Puller, local: LocalStore
    ) -> None:
        paths = local.paths.ingest(ref(BIG))
        os.makedirs(paths.folder)
        lock = filelock.acquire(paths.lock, sleep=time.sleep)
        assert lock is not None
        threading.Timer(SLOW, lock.release).start()
        events = bring.events(registry, local, root)
        done = 0
        while done < len(LAYERS):  # the config, and all layers but the one
            done += isinstance(next(events), Done)

        assert close(events) < 1
        assert workers() == []
        lock.release()

    def test_a_pull_ends_while_it_waits_for_a_manifest(
        self, registry: FakeRegistry, bring: Puller, local: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        children = [image(registry, [], config=b"%d" % n, tag=f"t{n}") for n in range(2)]
        held = hold(local, ref_key(mediatypes.OCI_MANIFEST, children[1].digest))
        real = pool._Run.results

        def interrupted(run: Any) -> Any:
            yield next(real(run))
            raise KeyboardInterrupt

        monkeypatch.setattr(pool._Run, "results", interrupted)
        started = time.monotonic()

        with pytest.raises(KeyboardInterrupt):
            bring(registry, local, index(registry, children))

        assert time.monotonic() - started < 1
        assert workers() == []
        held.close()

    @pytest.fixture
    def full(self, registry: FakeRegistry, bring: Puller, memory: MemoryStore) -> Descriptor:
        """An index of two images, all of it in ``memory``."""
        children = [image(registry, [], config=b"%d" % n, tag=f"t{n}") for n in range(2)]
        root = index(registry, children)
        bring(registry, memory, root)
        return root

    @pytest.mark.parametrize("what", ["config", "manifest"])
    def test_a_push_into_a_store_ends_while_it_waits(
        self, memory: MemoryStore, full: Descriptor, local: LocalStore, what: str
    ) -> None:
        kind = mediatypes.OCI_CONFIG if what == "config" else mediatypes.OCI_MANIFEST
        child = next(
            info.digest
            for info in memory.walk()
            if what == ("config" if info.size == 1 else "manifest") and info.digest != full.digest
        )
        held = hold(local, ref_key(kind, child))
        sink = StoreSink(local, name="there")
        events = push(memory, full, sink, options=PushOptions(concurrency=2))
        pushed = 0
        while pushed < (1 if what == "config" else 3):  # both configs, and the other manifest
            event = next(events)
            pushed += isinstance(event, Done)

        assert close(events) < 1
        assert workers() == []
        held.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def crew_of(
    store: Any, blob: Descriptor, data: bytes, clock: Callable[[], float], piece: int = 1 << 20
) -> Crew:
    stop = Stop()
    return Crew(
        store,
        Fetcher(data, piece=piece),
        [blob],
        stop=stop,
        throttle=Throttle(None, clock=clock, sleep=stop.sleep),
        labels={},
        clock=clock,
    )


def layer(data: bytes) -> Descriptor:
    return Descriptor(media_type=mediatypes.OCI_LAYER, digest=Digest.of(data), size=len(data))


def test_people_are_told_whom_they_wait_for_when_nothing_comes() -> None:
    clock = Clock()
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    owner = Owner(17, "box", "dist pull", moment)

    class Held(MemoryStore):
        def writer(self, ref: str, /, **_more: Any) -> Any:
            raise Locked("held", ref=ref)

        def follow(self, ref: str, /, *, on_progress: Any = None, timeout: float | None = None) -> Digest:
            for offset, seconds in ((10, 0.2), (20, 5.0), (20, 5.0), (20, 60.0), (20, 1.0), (30, 1.0)):
                clock.now += seconds
                on_progress(Status(ref, offset, 1000, None, moment, moment, owner))
            return Digest.of(BIG)

    seen: list[Event] = []
    crew_of(Held(), layer(BIG), BIG, clock).work(seen.append)

    (note,) = of(seen, Noted)
    assert "pid 17 on box (dist pull)" in note.text
    assert Digest.of(BIG) in note.text
    assert [event.how for event in of(seen, Done)] == ["followed"]


def test_a_writer_is_not_closed_under_the_hands_of_a_worker() -> None:
    """A second Ctrl-C does not wait for workers; the descriptor may have another file by then."""
    writing, go_on = threading.Event(), threading.Event()
    made: list[SlowWriter] = []

    class SlowWriter(MemoryWriter):
        def __init__(self, inner: MemoryWriter) -> None:
            vars(self).update(vars(inner))
            self.working = False
            self.disturbed = False
            made.append(self)

        def write(self, data: Any, /) -> int:
            self.working = True
            writing.set()
            go_on.wait(5)
            self.working = False
            return super().write(data)

        def close(self) -> None:
            self.disturbed |= self.working
            super().close()

    class Slow(MemoryStore):
        def writer(self, ref: str, /, **more: Any) -> Any:
            return SlowWriter(super().writer(ref, **more))

    store = Slow()
    crew = crew_of(store, layer(BIG), BIG, time.monotonic)
    worker = threading.Thread(target=crew.work, args=(lambda _event: None,), daemon=True)
    worker.start()
    assert writing.wait(5)

    crew.close()
    go_on.set()
    worker.join(5)

    assert [writer.disturbed for writer in made] == [False]
    assert all(status.owner is None for status in store.statuses())


def test_what_a_worker_leaves_open_is_closed_by_the_last_to_go() -> None:
    """The worker is told to stop, and the crew was closed before."""
    writing, go_on = threading.Event(), threading.Event()

    class SlowWriter(MemoryWriter):
        def __init__(self, inner: MemoryWriter) -> None:
            vars(self).update(vars(inner))

        def write(self, data: Any, /) -> int:
            writing.set()
            go_on.wait(5)
            return super().write(data)

    class Slow(MemoryStore):
        def writer(self, ref: str, /, **more: Any) -> Any:
            return SlowWriter(super().writer(ref, **more))

    store = Slow()
    crew = crew_of(store, layer(BIG), BIG, time.monotonic, piece=1000)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            crew.work(lambda _event: None)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    assert writing.wait(5)
    crew.stop.set()
    crew.close()
    go_on.set()
    worker.join(5)

    assert len(errors) == 1
    (status,) = store.statuses()
    assert (status.owner, status.offset) == (None, 1000)


def test_a_pull_ends_while_kept_bytes_are_hashed(
    registry: FakeRegistry,
    root: Descriptor,
    bring: Puller,
    local: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A terabyte of them takes half an hour."""
    keep(local, BIG, BIG)
    real, until = FrontierHasher._read, time.monotonic() + SLOW

    def read(hasher: FrontierHasher, space: memoryview) -> int:
        if time.monotonic() < until:
            time.sleep(0.01)
            return real(hasher, space[:1])
        return real(hasher, space)

    monkeypatch.setattr(FrontierHasher, "_read", read)
    events = bring.events(registry, local, root)
    done = 0
    while done < len(LAYERS):
        done += isinstance(next(events), Done)

    assert close(events) < 1
    assert local.status(ref(BIG)).offset == len(BIG)
    assert local.status(ref(BIG)).owner is None


def test_a_low_rate_does_not_leave_a_connection_alone_for_long() -> None:
    """A registry closes one that rests for a minute."""
    data = bytes(600_000)
    terms = Terms(data, piece=1 << 20)
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        terms.now += seconds

    terms.throttle = Throttle(10_000, clock=terms.clock, sleep=sleep)
    terms.finish()

    assert read_blob(terms.store, Digest.of(data), max_size=1 << 20) == data
    assert max(naps) < 10
    assert 50 < sum(naps) < 70


def test_moved_events_of_another_process_still_come(
    registry: FakeRegistry, root: Descriptor, bring: Puller, local: LocalStore
) -> None:
    other = local.writer(ref(BIG))
    other.write(BIG[:1000])
    events = bring.events(registry, local, root)

    seen = next(event for event in events if isinstance(event, Moved) and event.digest == Digest.of(BIG))
    other.close()
    rest = list(events)

    assert seen.offset == 1000
    assert {event.how for event in of(rest, Done) if event.digest == Digest.of(BIG)} == {"fetched"}
