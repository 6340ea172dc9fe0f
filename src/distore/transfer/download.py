"""Download: one blob on its way into a store, in as many parts at once as there are hands for."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from distore._internal.retry import Retrier
from distore.errors import AlreadyExists
from distore.remotes.mismatch import wrong_digest
from distore.remotes.resolver import Target
from distore.remotes.source import CHUNK, Source
from distore.transfer.progress import Done, Moved, Noted, Started

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.content.store import SegmentWriter
    from distore.errors import Unavailable
    from distore.oci.descriptor import Descriptor
    from distore.remotes.resolver import Fetcher
    from distore.transfer.pace import Stop, Throttle
    from distore.transfer.progress import Event

# A part is only halved when that saves more than another connection costs.
MIN_PART: Final = 4 * 1024 * 1024  # bytes
MIN_GAIN: Final = 0.5  # seconds that the rest would take at the speed measured so far
_SOON: Final = 0.25  # seconds before which no speed is measured
_TELL: Final = 0.2  # seconds between two events of a blob
_LOOK: Final = 0.1  # seconds between two looks whether to go on, while kept bytes are hashed


class Terms(Protocol):
    """What the downloads of one pull share."""

    @property
    def fetcher(self) -> Fetcher: ...
    @property
    def stop(self) -> Stop: ...
    @property
    def throttle(self) -> Throttle: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    def clock(self) -> float:
        """Monotonic seconds."""
        ...

    def emit(self, event: Event, /) -> None:
        """Tell whoever watches; from any thread."""
        ...


@runtime_checkable
class Settling(Protocol):
    """A writer that hashes beside its work, and may be behind with it for long."""

    def settle(self, seconds: float, /) -> bool:
        """Whether ``digest`` answers at once, waiting so long for that."""
        ...


@dataclass(slots=True, kw_only=True)
class Part:
    """Bytes from ``position`` up to ``end``; guarded by the download's lock."""

    started: float
    start: int
    position: int
    end: int
    active: bool = True
    source: Source | None = field(default=None, repr=False)

    def left(self) -> int:
        """Bytes that are still to come."""
        return self.end - self.position


class Download:
    """Made with the writer open; ``work`` in any number of threads brings the bytes and commits.

    The writer's kept bytes are not fetched again. They are given up once, when the whole turns
    out not to be what was promised.
    """

    def __init__(self, descriptor: Descriptor, writer: SegmentWriter, terms: Terms) -> None:
        self.descriptor = descriptor
        self._writer = writer
        self._terms = terms
        self._guard = threading.Lock()
        self._writing = threading.Lock()  # held by ``write``, which is for one thread alone
        self._shared = False  # from the first split on every byte goes by write_at
        self._parts: list[Part] = []
        self._open = 0  # parts that nobody has ended
        self._unclaimed: list[Part] = []  # of an earlier try, which nobody has begun
        self._ranges = True  # until the other side ignores one
        self._connections = 0
        self._arrived = 0
        self._told = 0.0
        self._again = False
        self._begin()

    def first(self) -> Part:
        """The part that is there from the beginning."""
        return self._parts[0]

    def speeds(self) -> list[float | None]:
        """Bytes a second of each part that travels; None for one that has just begun."""
        now = self._terms.clock()
        with self._guard:
            return [
                (part.position - part.start) / (now - part.started) if now - part.started >= _SOON else None
                for part in self._parts
                if part.active
            ]

    def rest(self) -> float:
        """Seconds that the slowest part will take, 0 when nothing is worth halving."""
        with self._guard:
            if self._unclaimed:
                return math.inf
            return max((self._gain(part) for part in self._parts), default=0.0)

    def halve(self) -> Part | None:
        """A part for another thread to bring: one that nobody has begun, or the second half of what
        is left of the slowest."""
        now = self._terms.clock()
        with self._guard:
            if self._unclaimed:
                waiting = self._unclaimed.pop()
                waiting.started = now
                return waiting
            part = max(self._parts, key=self._gain, default=None)
            if part is None or self._gain(part) < MIN_GAIN:
                return None
            middle = part.end - part.left() // 2
            half = Part(started=now, start=middle, position=middle, end=part.end)
            part.end = middle
            if part.source is not None:
                part.source.end = middle
            self._shared = True
            self._parts.append(half)
            self._open += 1
            return half

    def work(self, part: Part) -> bool:
        """Bring ``part``; whoever brings the last one commits, and gets True.

        Raises:
            Cancelled: The transfer is to end; the bytes are kept.
            DigestMismatch, SizeMismatch: The registry has other bytes than were promised.
            DistoreError: As Fetcher and Writer; the bytes are kept.
        """
        while True:
            self._bring(part)
            with self._guard:
                part.active = False
                self._open -= 1
                last = not self._open
                following = self._unclaimed.pop(0) if self._unclaimed else None
            if following is not None:
                part = following
                part.started = self._terms.clock()
                continue
            if not last:
                return False
            if self._commit():
                return True
            part = self.first()  # once more, from byte 0

    def close(self) -> None:
        """Keep what came; a second call does nothing."""
        self._writer.close()

    def _begin(self) -> None:
        offset, size = self._writer.offset, self.descriptor.size
        if offset > size or any(end > size for _, end in self._writer.missing(size)):
            self._note(f"{offset} bytes are kept, it has {size}; starting over")
            self._writer.truncate()
            offset = 0
        now = self._terms.clock()
        spans = self._writer.missing(size) or [(size, size)]
        self._parts = [Part(started=now, start=start, position=start, end=end) for start, end in spans]
        self._open, self._unclaimed = len(spans), self._parts[1:]
        self._arrived = size - sum(end - start for start, end in spans)
        self._resumed, self._shared = bool(self._arrived), len(spans) > 1
        if self._arrived:
            where = f"at byte {offset}" if len(spans) == 1 else f"with {self._arrived} bytes in pieces,"
            self._note(f"resuming {where} of {size}")
        self._terms.emit(
            Started(
                digest=self.descriptor.digest,
                media_type=self.descriptor.media_type,
                size=size,
                offset=self._arrived,
            )
        )

    def _bring(self, part: Part) -> None:
        if self._shared:
            with self._writing:
                pass  # the last ``write`` of the first part is over
        if self.descriptor.data is not None:
            if part.left():
                self._put(part, self.descriptor.data[part.position :])
            return
        target = Target(
            digest=self.descriptor.digest, media_type=self.descriptor.media_type, size=self.descriptor.size
        )
        retrier = Retrier(on_retry=self._retrying, sleep=self._terms.stop.sleep, clock=self._terms.clock)
        with Source(
            self._terms.fetcher, target, retrier=retrier, offset=part.position, end=part.end
        ) as source:
            with self._guard:
                source.end, part.source = part.end, source
            self._pump(part, source)
            with self._guard:
                self._connections += source.connections

    def _pump(self, part: Part, source: Source) -> None:
        while not self._is_over(part):
            self._terms.stop.check()
            position, data = source.next(self._terms.throttle.piece(CHUNK))
            if not data and position == part.position:
                continue  # it had come to its end, and that has been moved since
            if position < part.position:
                if self._given_back(part):
                    return
                data = data[part.position - position :]  # it cannot begin there: pass over what is here
            elif position > part.position:
                source.seek(part.position)  # it read beyond an end that has been given back since
                continue
            if data:
                self._terms.throttle.take(len(data))
                self._put(part, data)

    def _is_over(self, part: Part) -> bool:
        """Whether all of it is there; then nobody may raise its end any more."""
        with self._guard:
            if part.left() > 0:
                return False
            part.active = False
            return True

    def _given_back(self, part: Part) -> bool:
        """The other side ignores ranges: whoever works before this part had better go on."""
        with self._guard:
            if part.position != part.start:
                return False
            self._ranges = False
            for other in self._parts:
                if other.active and other is not part and other.end == part.start:
                    other.end, part.end = part.end, part.start
                    if other.source is not None:
                        other.source.end = other.end
                    return True
        return False

    def _put(self, part: Part, data: bytes) -> None:
        with self._guard:
            position = part.position
            data = data[: part.end - position]  # somebody may have taken what lies behind
            part.position += len(data)
        if not data:
            return
        with self._writing:
            alone = not self._shared
            if alone:
                self._writer.write(data)
        if not alone:
            self._writer.write_at(data, position)
        self._tell(len(data))

    def _commit(self) -> bool:
        """False: the bytes are wrong, and one more try from byte 0 is due."""
        digest, size = self.descriptor.digest, self.descriptor.size
        while isinstance(self._writer, Settling) and not self._writer.settle(_LOOK):
            self._terms.stop.check()
        actual = self._writer.digest()
        if actual == digest:
            with suppress(AlreadyExists):  # somebody else was quicker
                self._writer.commit(size=size, expected=digest, labels=self._terms.labels)
            self._terms.emit(
                Done(digest=digest, media_type=self.descriptor.media_type, size=size, how="fetched")
            )
            return True
        # None of these bytes can be told right from wrong.
        self._writer.truncate()
        if self._again or not (self._resumed or self._connections > 1):
            raise wrong_digest(self._name, expected=digest, actual=actual)
        self._again = True
        self._note("the kept bytes are damaged; starting over")
        self._begin()
        return False

    def _gain(self, part: Part) -> float:
        """Seconds that ``part`` will take; 0 when it is not to be halved."""
        elapsed = self._terms.clock() - part.started
        done = part.position - part.start
        if not (part.active and self._ranges) or part.left() < 2 * MIN_PART or elapsed < _SOON:
            return 0.0
        return part.left() * elapsed / done if done else part.left() / MIN_PART

    @property
    def _name(self) -> str:
        return f"{self._terms.fetcher.repository.name}@{self.descriptor.digest}"

    def _note(self, text: str) -> None:
        self._terms.emit(Noted(text=f"{self._name}: {text}"))

    def _retrying(self, error: Unavailable, pause: float, left: int) -> None:
        self._terms.stop.check()  # broken off on purpose: that is no news
        self._terms.emit(Noted(text=f"{error}; trying again in {pause:.1f} s ({left} left)"))

    def _tell(self, size: int) -> None:
        now = self._terms.clock()
        with self._guard:
            self._arrived += size
            if now - self._told < _TELL:
                return
            self._told, arrived = now, self._arrived
        self._terms.emit(Moved(digest=self.descriptor.digest, offset=arrived, size=self.descriptor.size))
