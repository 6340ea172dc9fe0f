"""Pulls by many hands: parts of a blob, several pulls of one image, and how they stop."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.transfer.conftest import Puller
from tests.unit.transfer.pull_images import (
    BIG,
    LAYERS,
    Kept,
    blob_requests,
    check,
    employ,
    hows,
    image,
    index,
    of,
    put,
    ref,
    total,
    workers,
)

from distore._internal import pool
from distore.content.memory import MemoryStore
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.message import Handler, Request, Response
from distore.testing import server
from distore.testing.server import FakeRegistry
from distore.transfer import crew as crew_module
from distore.transfer import download as download_module
from distore.transfer.progress import Event, Finished, Moved, Noted, Started


class TestHalving:
    """Parts of a blob over several connections; the sizes that make it worth while are lowered."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download_module, "MIN_PART", 20_000)
        monkeypatch.setattr(download_module, "MIN_GAIN", 0.05)
        monkeypatch.setattr(crew_module, "MIN_GAIN", 0.05)
        monkeypatch.setattr(download_module, "_SOON", 0.05)
        monkeypatch.setattr(crew_module, "_LOOK", 0.02)
        employ(monkeypatch, 4)

    DATA = random.Random(9).randbytes(400_000)

    @pytest.fixture
    def slow(self) -> Iterator[FakeRegistry]:
        with FakeRegistry(rate=400_000) as server:
            yield server

    @pytest.mark.slow
    def test_a_slow_blob_comes_in_parts_and_no_byte_twice(
        self, slow: FakeRegistry, bring: Puller, kept: Kept
    ) -> None:
        root = slow.image("demo", "latest", [self.DATA])

        started = time.monotonic()
        events = bring(slow, kept, root)

        check(kept, root)
        assert time.monotonic() - started < 0.9  # alone it takes a second
        ranges = blob_requests(slow, self.DATA)
        assert len(ranges) >= 3
        assert hows(events)[Digest.of(self.DATA)] == "fetched"
        assert [event.moved for event in of(events, Finished)] == [total([self.DATA])]

    @pytest.mark.slow
    def test_a_registry_that_ignores_ranges_meanwhile_is_left_to_one_connection(
        self, slow: FakeRegistry, bring: Puller, kept: Kept
    ) -> None:
        root = slow.image("demo", "latest", [self.DATA])
        slow.inject(server.ignore_range(), path="/blobs/", times=None)

        bring(slow, kept, root)

        check(kept, root)
        assert len(blob_requests(slow, self.DATA)) >= 2  # it was tried

    @pytest.mark.slow
    @pytest.mark.usefixtures("no_pauses")
    def test_parts_that_break_off_are_taken_up(self, slow: FakeRegistry, bring: Puller, kept: Kept) -> None:
        root = slow.image("demo", "latest", [self.DATA])
        for at in (50_000, 250_000, 350_000):
            slow.inject(server.drop_at(at), path=f"/blobs/{Digest.of(self.DATA)}")

        bring(slow, kept, root)

        check(kept, root)

    @pytest.mark.slow
    def test_a_rate_holds_for_all_parts_together(
        self, registry: FakeRegistry, bring: Puller, memory: MemoryStore
    ) -> None:
        root = registry.image("demo", "latest", [self.DATA])

        started = time.monotonic()
        bring(registry, memory, root, limit_rate=1_000_000)

        assert 0.25 < time.monotonic() - started < 2
        check(memory, root)


def test_every_worker_stays_while_the_only_blob_is_being_opened(
    registry: FakeRegistry, bring: Puller, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that left then could not take over a half."""
    root = registry.image("demo", "latest", [BIG])
    employ(monkeypatch, 3)
    opening, looked = threading.Event(), threading.Event()
    seen: list[int] = []
    real = MemoryStore.writer

    def writer(store: MemoryStore, name: str, /, **more: Any) -> Any:
        if name == ref(BIG):
            opening.set()
            looked.wait(5)
        return real(store, name, **more)

    def watch() -> None:
        opening.wait(5)
        time.sleep(0.1)  # the others look for work, and for the end
        seen.append(len(workers()))
        looked.set()

    monkeypatch.setattr(MemoryStore, "writer", writer)
    watcher = threading.Thread(target=watch)
    watcher.start()
    bring(registry, memory, root)
    watcher.join()

    assert seen == [3]


class TestTogether:
    """Two pulls of one image at the same time."""

    @pytest.mark.slow
    def test_each_byte_of_a_blob_travels_once(self, puller: Callable[..., Puller], kept: Kept) -> None:
        results: list[list[Event]] = []
        with FakeRegistry(rate=300_000) as slow:
            root = slow.image("demo", "latest", LAYERS)
            threads = [
                threading.Thread(target=lambda: results.append(puller()(slow, kept, root))) for _ in range(2)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            assert [len(blob_requests(slow, data)) for data in LAYERS] == [1, 1, 1]

        check(kept, root)
        one, two = results
        assert all("fetched" in (hows(one)[digest], hows(two)[digest]) for digest in hows(one))
        assert "followed" in {*hows(one).values(), *hows(two).values()}

    @pytest.mark.slow
    def test_when_the_other_one_gives_up_the_rest_is_taken_over(
        self, puller: Callable[..., Puller], kept: Kept
    ) -> None:
        with FakeRegistry(rate=300_000) as slow:
            root = slow.image("demo", "latest", LAYERS)
            first = puller().events(slow, kept, root)
            for event in first:
                if isinstance(event, Moved) and event.digest == Digest.of(BIG) and event.offset:
                    break
            results: list[list[Event]] = []
            other = threading.Thread(target=lambda: results.append(puller()(slow, kept, root)))
            other.start()
            time.sleep(0.05)
            first.close()  # type: ignore[attr-defined]  # it is a generator
            other.join()

        check(kept, root)
        assert hows(results[0])[Digest.of(BIG)] == "fetched"


class TestStopping:
    """Whoever closes the iterator gets away at once, and what came is kept."""

    @pytest.fixture
    def release(self) -> Iterator[threading.Event]:
        event = threading.Event()
        yield event
        event.set()

    @pytest.fixture
    def hang(self, release: threading.Event) -> server.Fault:
        def act(request: Request, handler: Handler) -> Response:
            release.wait(20)
            return handler(request)

        return act

    @staticmethod
    def until(events: Iterator[Event], kind: type[Event]) -> None:
        next(event for event in events if isinstance(event, kind))

    @staticmethod
    def close(events: Iterator[Event]) -> float:
        started = time.monotonic()
        events.close()  # type: ignore[attr-defined]  # it is a generator
        return time.monotonic() - started

    @pytest.mark.slow
    def test_while_bytes_trickle(self, bring: Puller, kept: Kept) -> None:
        with FakeRegistry(rate=1) as stalled:
            root = stalled.image("demo", "latest", LAYERS)
            with stalled.blobs.reader(root.digest) as reader:
                put(kept, reader.read_at(reader.size, 0))
            events = bring.events(stalled, kept, root)
            self.until(events, Moved)

            assert self.close(events) < 1

        assert workers() == []
        assert any(status.offset for status in kept.statuses())
        assert all(status.owner is None for status in kept.statuses())

    @pytest.mark.slow
    def test_while_an_answer_is_awaited(
        self, registry: FakeRegistry, root: Descriptor, bring: Puller, memory: MemoryStore, hang: server.Fault
    ) -> None:
        registry.inject(hang, path="/blobs/", times=None)
        events = bring.events(registry, memory, root)
        self.until(events, Started)
        time.sleep(0.1)

        assert self.close(events) < 1
        assert workers() == []

    @pytest.mark.slow
    def test_while_many_manifests_are_awaited(
        self,
        registry: FakeRegistry,
        bring: Puller,
        memory: MemoryStore,
        hang: server.Fault,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        children = [image(registry, [], config=b"%d" % n, tag=f"t{n}") for n in range(4)]
        root = index(registry, children)
        for child in children[1:]:
            registry.inject(hang, path=str(child.digest), times=None)
        real = pool._Run.results

        def interrupted(run: Any) -> Any:
            yield next(real(run))
            time.sleep(0.1)
            raise KeyboardInterrupt

        monkeypatch.setattr(pool._Run, "results", interrupted)
        started = time.monotonic()

        with pytest.raises(KeyboardInterrupt):
            bring(registry, memory, root)

        assert time.monotonic() - started < 1.5
        assert workers() == []

    def test_the_first_failure_is_what_is_raised(
        self, registry: FakeRegistry, root: Descriptor, bring: Puller, memory: MemoryStore, hang: server.Fault
    ) -> None:
        registry.inject(server.refuse(403, "DENIED", "no"), path=f"/blobs/{Digest.of(LAYERS[0])}", times=None)
        registry.inject(hang, path=f"/blobs/{Digest.of(BIG)}", times=None)
        events: list[Event] = []

        with pytest.raises(Exception, match="answered 403: denied no"):
            events.extend(bring.events(registry, memory, root))

        assert workers() == []

    def test_nobody_is_told_of_what_was_broken_off_because_another_failed(
        self, registry: FakeRegistry, root: Descriptor, bring: Puller, memory: MemoryStore, hang: server.Fault
    ) -> None:
        registry.inject(server.refuse(403, "DENIED", "no"), path=f"/blobs/{Digest.of(LAYERS[0])}", times=None)
        registry.inject(hang, path=f"/blobs/{Digest.of(BIG)}", times=None)
        seen: list[Event] = []

        with pytest.raises(Exception, match="answered 403"):
            for event in bring.events(registry, memory, root):
                seen.append(event)

        assert of(seen, Noted) == []

    def test_before_anything_was_asked(
        self, registry: FakeRegistry, root: Descriptor, bring: Puller, memory: MemoryStore
    ) -> None:
        events = bring.events(registry, memory, root)
        next(events)

        self.close(events)

        assert registry.requests == []
        assert list(memory.walk()) == []
