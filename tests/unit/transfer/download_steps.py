"""A download whose workers take one step at a time, in whatever order a test likes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distore.content.blobs import read_blob
from distore.content.memory import MemoryStore, MemoryWriter
from distore.errors import Unavailable
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.reference import Reference
from distore.remotes.resolver import Target
from distore.transfer.download import Download, Part
from distore.transfer.pace import Stop, Throttle
from distore.transfer.progress import Done, Event, Noted

REF = "layer"


class Worker:
    """Runs ``work`` in a thread, from one look at the network to the next whenever told."""

    here = threading.local()

    def __init__(self, work: Callable[[], bool]) -> None:
        self._work = work
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self.done = False
        self.result: bool | None = None
        self.error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def step(self) -> None:
        self._go.release()
        assert self._paused.acquire(timeout=10)

    @classmethod
    def pause(cls) -> None:
        """In its thread: the network is slow."""
        worker: Worker | None = getattr(cls.here, "worker", None)
        if worker is not None:
            worker._paused.release()
            worker._go.acquire()

    def _run(self) -> None:
        self.here.worker = self
        self._go.acquire()
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        self.done = True
        self._paused.release()


class Writer(MemoryWriter):
    """Notes what is written where, and every commit."""

    def __init__(self, inner: MemoryWriter) -> None:
        vars(self).update(vars(inner))
        self.written: list[tuple[int, int]] = []
        self.commits = 0

    def write_at(self, data: Any, offset: int, /) -> int:
        size = super().write_at(data, offset)
        self.written.append((offset, offset + size))
        return size

    def truncate(self, size: int = 0, /) -> None:
        super().truncate(size)
        self.written.clear()

    def __enter__(self) -> Writer:
        return self

    def commit(self, **more: Any) -> Digest:
        self.commits += 1
        return super().commit(**more)


class Stream:
    """Bytes of a blob from ``offset`` on, a few at a time."""

    media_type = digest = validator = None
    source = "fake"

    def __init__(self, fetcher: Fetcher, offset: int, end: int, size: int) -> None:
        self._fetcher, self._at, self._end = fetcher, offset, end
        self.offset, self.size = offset, size
        fetcher.streams += 1

    def read(self, limit: int, /) -> bytes:
        Worker.pause()
        fetcher = self._fetcher
        if fetcher.drops > 0 and self._at > self.offset:
            fetcher.drops -= 1
            raise Unavailable("fake: broke off")
        data = fetcher.data[self._at : min(self._at + min(limit, fetcher.piece), self._end)]
        self._at += len(data)
        return data

    def close(self) -> None:
        self._at = self._end

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass
class Fetcher:
    """Has one blob. ``ranges``: whether it can begin anywhere; ``drops``: how often it breaks off."""

    data: bytes
    piece: int = 10
    ranges: bool = True
    drops: int = 0
    streams: int = 0
    opened: list[tuple[int, int | None]] = field(default_factory=list)
    repository: Reference = field(default_factory=lambda: Reference.parse("a.example/b", default_tag=None))

    def open(
        self, target: Target, /, *, offset: int = 0, end: int | None = None, validator: str | None = None
    ) -> Stream:
        Worker.pause()
        self.opened.append((offset, end))
        if not self.ranges:
            return Stream(self, 0, len(self.data), len(self.data))
        return Stream(self, offset, len(self.data) if end is None else end, len(self.data))


class Brake(Stop):
    """A Stop that lets nobody sleep."""

    def sleep(self, seconds: float) -> None:
        self.check()


class Terms:
    """One download, its clock and its events."""

    def __init__(
        self,
        data: bytes,
        *,
        kept: bytes = b"",
        islands: Sequence[tuple[int, int]] = (),
        promised: bytes | None = None,
        **more: Any,
    ) -> None:
        self.now = 1000.0
        self.slow_events = False  # whether others may do something between a write and what follows it
        self.stop: Stop = Brake()
        self.throttle = Throttle(None, clock=self.clock, sleep=self.stop.sleep)
        self.labels: Mapping[str, str] = {"a": "b"}
        self.events: list[Event] = []
        self.fetcher = Fetcher(data, **more)
        self.store = MemoryStore()
        promised = data if promised is None else promised
        self.descriptor = Descriptor(
            media_type=mediatypes.OCI_LAYER, digest=Digest.of(promised), size=len(promised)
        )
        if kept:
            with self.store.writer(REF) as writer:
                writer.write(kept)
        self.writer = Writer(self.store.writer(REF, expected=self.descriptor.digest))
        for start, end in islands:  # what an earlier try has left behind a gap
            self.writer.write_at(data[start:end], start)
        self.download = Download(self.descriptor, self.writer, self)
        self.workers: list[Worker] = []
        self.begin(self.download.first())

    def clock(self) -> float:
        return self.now

    def emit(self, event: Event, /) -> None:
        self.events.append(event)
        if self.slow_events:
            Worker.pause()

    def begin(self, part: Part) -> Worker:
        self.workers.append(Worker(lambda: self.download.work(part)))
        return self.workers[-1]

    def halve(self) -> Worker | None:
        part = self.download.halve()
        return None if part is None else self.begin(part)

    def running(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.done]

    def finish(self) -> None:
        """Everybody to the end, in turn."""
        for _ in range(100_000):
            waiting = self.running()
            if not waiting:
                return
            for worker in waiting:
                worker.step()
        raise AssertionError("it never ends")

    def check(self, *, kept: int = 0) -> None:
        """All is right: the bytes, the one commit, and no byte twice."""
        assert [worker.error for worker in self.workers if worker.error] == []
        assert sum(worker.result is True for worker in self.workers) == 1
        assert read_blob(self.store, self.descriptor.digest, max_size=1 << 30) == self.fetcher.data
        assert self.store.info(self.descriptor.digest).labels == {"a": "b"}
        assert self.writer.commits == 1
        reached = kept
        for start, end in sorted(self.writer.written):
            assert start == reached
            reached = end
        assert reached == len(self.fetcher.data)
        assert sum(isinstance(event, Done) for event in self.events) == 1
        assert isinstance(self.events[-1], Done)

    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Noted)]
