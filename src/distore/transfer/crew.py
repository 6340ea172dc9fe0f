"""Crew: what each worker of a pull does next."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.store import Follower, SegmentWriter
from distore.errors import AlreadyExists, Locked
from distore.oci import mediatypes
from distore.remotes.refkey import ref_key
from distore.transfer.download import MIN_GAIN, Download
from distore.transfer.progress import Done, Moved, Noted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.content.store import Owner, Status
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.remotes.resolver import Fetcher
    from distore.transfer.download import Part
    from distore.transfer.pace import Stop, Throttle
    from distore.transfer.progress import Event

# Measured on 2 cores with a registry beside it: six large blobs at once 1.22 s, four 1.15 s.
_AT_ONCE: Final = 4  # connections for large blobs, unless they are slow
_LARGE: Final = 1024 * 1024  # bytes
_FAST: Final = 200e6  # bytes a second of one connection
_LOOK: Final = 0.2  # seconds after which a worker without work looks again
_PATIENCE: Final = 15.0  # seconds without a byte after which people are told for whom they wait


class SegmentIngester(Follower, Protocol):
    """An Ingester whose writers take segments, and whose running ingests can be watched."""

    def writer(
        self, ref: str, /, *, total: int | None = None, expected: Digest | None = None
    ) -> SegmentWriter:
        """As ``Ingester.writer``."""
        ...


class Crew:
    """The blobs of one pull and who brings them. ``work`` runs in each worker at once.

    A worker takes the biggest blob that nobody brings; then what another process had locked; then
    it takes over half of what is left of the slowest part; then it is done.

    Args:
        missing: What to bring.
        labels: What new blobs get.
        clock: Monotonic seconds.
        configs_first: Bring configs before the biggest blobs: they tell what layers are for.
    """

    def __init__(
        self,
        store: SegmentIngester,
        fetcher: Fetcher,
        missing: Sequence[Descriptor],
        *,
        stop: Stop,
        throttle: Throttle,
        labels: Mapping[str, str],
        clock: Callable[[], float],
        configs_first: bool = False,
    ) -> None:
        self.fetcher = fetcher
        self.stop = stop
        self.throttle = throttle
        self.labels = labels
        self.clock = clock
        self._store = store
        self._guard = threading.Lock()
        self._idle = threading.Condition(self._guard)  # somebody has ended a blob, or begun one
        # The biggest last, which goes first.
        self._waiting = sorted(
            missing, key=lambda blob: (configs_first and mediatypes.is_config(blob.media_type), blob.size)
        )
        self._held: list[Descriptor] = []  # another process brings them
        self._opening = 0  # taken from those lists, and not running yet
        self._running: list[Download] = []
        self._hands = 0  # workers in ``work``
        self._closed = False
        self._emit: Callable[[Event], None] = lambda _event: None

    def emit(self, event: Event, /) -> None:
        self._emit(event)

    def work(self, emit: Callable[[Event], None]) -> None:
        """One worker, until nothing is left that it could do.

        Raises:
            Cancelled: ``stop`` is set.
            DistoreError: A blob cannot be had; what came of it is kept.
        """
        with self._guard:
            self._hands += 1
        self._emit = emit  # the same queue for all of them
        try:
            self._work()
        finally:
            with self._guard:
                self._hands -= 1
            self._tidy()

    def _work(self) -> None:
        while True:
            self.stop.check()
            taken = self._next() or self._half()
            if taken is not None:
                self._bring(*taken)
                continue
            with self._idle:
                if not (self._waiting or self._held or self._opening or self._running):
                    return
                self._idle.wait(_LOOK)

    def _next(self) -> tuple[Download, Part] | None:
        """A blob that nobody brings, begun."""
        while True:
            with self._guard:
                follow = not self._waiting
                if not (self._waiting or self._held):
                    return None
                if follow:
                    blob = self._held.pop()
                elif not self._crowded():
                    blob = self._waiting.pop()
                elif self._waiting[0].size < _LARGE:
                    blob = self._waiting.pop(0)
                else:
                    return None
                self._opening += 1
            try:
                download = self._begun(blob, follow=follow)
            finally:
                with self._idle:
                    self._opening -= 1
                    self._idle.notify_all()
            if download is not None:
                return download, download.first()

    def _crowded(self) -> bool:
        """Whether another connection for a large blob would only take from those there are: they are
        so fast that the machine is what limits them, not the way. Called with the guard held."""
        large = [download for download in self._running if download.descriptor.size >= _LARGE]
        speeds = [speed for download in large for speed in download.speeds()]
        if len(speeds) + self._opening < _AT_ONCE:
            return False
        return any(speed is None or speed > _FAST for speed in speeds)

    def _begun(self, blob: Descriptor, *, follow: bool) -> Download | None:
        """None: it is there by now, or another process brings it."""
        ref = ref_key(blob.media_type, blob.digest)
        while True:
            try:
                writer = self._store.writer(ref, total=blob.size, expected=blob.digest)
            except AlreadyExists:
                self._there(blob)
                return None
            except Locked:
                if not follow:
                    with self._guard:
                        self._held.append(blob)
                    return None
            else:
                break
            if self._followed(ref, blob):
                self._there(blob)
                return None
        try:
            download = Download(blob, writer, self)
        except BaseException:
            writer.close()
            raise
        with self._guard:
            self._running.append(download)
        return download

    def _followed(self, ref: str, blob: Descriptor) -> bool:
        """Watch the other process; whether it brought the blob to its end."""
        reached, since = -1, self.clock()

        def look(status: Status) -> None:
            nonlocal reached, since
            self.stop.check()
            now = self.clock()
            if status.offset != reached:
                reached, since = status.offset, now
            elif now - since >= _PATIENCE:
                since = math.inf  # once is enough
                self.emit(
                    Noted(
                        text=f"{blob.digest}: {_name(status.owner)} brings it, and has brought"
                        f" nothing for {_PATIENCE:.0f} s; waiting"
                    )
                )
            self.emit(Moved(digest=blob.digest, offset=status.offset, size=blob.size))

        return self._store.follow(ref, on_progress=look) == blob.digest

    def _there(self, blob: Descriptor) -> None:
        self.emit(Done(digest=blob.digest, media_type=blob.media_type, size=blob.size, how="followed"))

    def _half(self) -> tuple[Download, Part] | None:
        """Half of what the slowest part still has to bring."""
        with self._guard:
            running = [] if self._crowded() else list(self._running)
        slowest = max(running, key=Download.rest, default=None)
        if slowest is None or slowest.rest() < MIN_GAIN:
            return None
        part = slowest.halve()
        return None if part is None else (slowest, part)

    def _bring(self, download: Download, part: Part) -> None:
        if download.work(part):
            self._drop(download)

    def _drop(self, download: Download) -> None:
        with self._idle:
            with suppress(ValueError):
                self._running.remove(download)
            self._idle.notify_all()
        download.close()

    def close(self) -> None:
        """Keep what came of the blobs that are not whole. While there are workers, whom a second
        Ctrl-C does not wait for, the last of them does that: it would be the end of a file that
        somebody writes."""
        with self._guard:
            self._closed = True
        self._tidy()

    def _tidy(self) -> None:
        with self._guard:
            if self._hands or not self._closed:
                return
            left, self._running = self._running, []
        for download in left:
            download.close()


def _name(owner: Owner | None) -> str:
    if owner is None:
        return "another process"
    return f"pid {owner.pid or '?'} on {owner.host or '?'} ({owner.command or '?'})"
