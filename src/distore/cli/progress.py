"""Progress of a transfer: JSON lines, plain lines, or bars on a terminal; all from the same events."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Final, Protocol

from distore.cli.output import human_age, human_size, printable
from distore.transfer.progress import (
    Done,
    Finished,
    Moved,
    Noted,
    Planned,
    Resolved,
    Started,
    Unpacked,
    Unpacking,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distore.cli.output import Output
    from distore.oci.digest import Digest
    from distore.transfer.progress import Event

_EVERY: Final = 5.0  # seconds between two lines about the whole where nobody looks at bars
_SHORT: Final = len("sha256:") + 12  # characters of a digest that people see
_DUMB: Final = ("", "dumb", "unknown")  # terminals that cannot move the cursor


class Renderer(Protocol):
    """Shows events as they come."""

    def show(self, event: Event, /) -> None:
        """One more."""
        ...

    def close(self) -> None:
        """There are no more."""
        ...


def show(
    events: Iterable[Event], out: Output, *, quiet: bool, clock: Callable[[], float], brief: bool = False
) -> Finished | None:
    """Show all of ``events``; the last one when it says that all is there.

    With ``--json`` every event is a line on standard output; otherwise talk goes to standard error.

    Args:
        brief: One of many transfers, whose results the caller tells: bars where somebody looks,
            notes, and nothing else.
    """
    finished = None
    renderer = _renderer(out, quiet=quiet, clock=clock, brief=brief)
    try:
        for event in events:
            renderer.show(event)
            if isinstance(event, Finished):
                finished = event
    finally:
        renderer.close()
        if isinstance(events, Generator):
            events.close()  # after Ctrl-C: nothing moves any more when this returns
    return finished


def _renderer(out: Output, *, quiet: bool, clock: Callable[[], float], brief: bool) -> Renderer:
    if out.as_json and not brief:
        return _Json(out)
    if quiet:
        return _Quiet()
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in _DUMB:
        from distore.cli.bars import Bars

        return Bars(brief=brief)
    return _Plain(out, clock, brief=brief)


class _Quiet:
    def show(self, event: Event, /) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing was shown."""


class _Json:
    def __init__(self, out: Output) -> None:
        self._out = out

    def show(self, event: Event, /) -> None:
        self._out.record("", **event.to_json())
        self._out.flush()

    def close(self) -> None:
        """Every line is out."""


class Total:
    """Bytes of all blobs together, from the events of each.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._offsets: dict[Digest, int] = {}
        self._begun: dict[Digest, int] = {}
        self.size = 0
        self._missing = 0
        self._unpack = 0
        self._unpacked: dict[Digest, int] = {}

    def add(self, event: Event) -> None:
        """Count it."""
        if isinstance(event, Planned):
            self.size, self._missing, self._unpack = event.size, event.missing, event.unpack
            self._started = self._clock()
        elif isinstance(event, Started):
            self._begun[event.digest] = self._offsets[event.digest] = event.offset
        elif isinstance(event, Moved):
            self._offsets[event.digest] = event.offset
        elif isinstance(event, Done) and event.digest in self._begun:
            self._offsets[event.digest] = event.size
        elif isinstance(event, Unpacking):
            self._unpacked[event.digest] = event.offset
        elif isinstance(event, Unpacked):
            self._unpacked[event.digest] = event.size

    @property
    def moved(self) -> int:
        """Bytes that travelled since the plan."""
        return sum(at - self._begun.get(digest, at) for digest, at in self._offsets.items())

    @property
    def rate(self) -> float:
        """Bytes a second since the plan."""
        elapsed = self._clock() - self._started
        return self.moved / elapsed if elapsed > 0 else 0.0

    def __str__(self) -> str:
        if self._unpack and self.moved >= self._missing:
            return f"{human_size(sum(self._unpacked.values()))} of {human_size(self._unpack)} unpacked"
        moved, rate = self.moved, self.rate
        left = (self._missing - moved) / rate if rate else 0.0
        rest = f", {human_age(left)} left" if left >= 1 else ""
        return f"{human_size(moved)} of {human_size(self._missing)}, {human_size(round(rate))}/s{rest}"


class _Plain:
    """A line for each thing that happened; for logs."""

    def __init__(self, out: Output, clock: Callable[[], float], *, brief: bool) -> None:
        self._out = out
        self._clock = clock
        self._brief = brief
        self._total = Total(clock)
        self._last = clock()

    def show(self, event: Event, /) -> None:
        self._total.add(event)
        text = None if self._brief and not isinstance(event, Noted) else describe(event)
        if text is not None:
            self._out.note(text)
        elif isinstance(event, Moved | Unpacking) and self._clock() - self._last >= _EVERY:
            self._last = self._clock()
            self._out.note(f"... {self._total}")

    def close(self) -> None:
        """Every line is out."""


def describe(event: Event) -> str | None:
    """An event in words; None for one that people need not see."""
    if isinstance(event, Resolved):
        return f"{printable(event.name)}: {event.descriptor.digest}"
    if isinstance(event, Planned):
        here = event.blobs - event.missing_blobs
        kept = f", {human_size(event.kept)} kept from before" if event.kept else ""
        if event.unpack and not event.missing_blobs:
            layers = "1 layer" if event.blobs == 1 else f"{event.blobs} layers"
            return f"{layers}, {human_size(event.size)}; {human_size(event.unpack)} to unpack"
        return (
            f"{event.blobs} blobs, {human_size(event.size)}; {here} there already,"
            f" {human_size(event.missing)} to move{kept}"
        )
    if isinstance(event, Done):
        return f"{event.how} {short(event.digest)} {human_size(event.size)}"
    if isinstance(event, Unpacked):
        plain = f" to {human_size(event.plain)}" if event.plain is not None else ""
        what = "device or attribute" if event.left_out == 1 else "devices or attributes"
        left_out = f", {event.left_out} {what} left out" if event.left_out else ""
        how = "unpacked" if event.how == "unpacked" else f"unpacked already ({event.how})"
        return f"{how} {short(event.digest)} {human_size(event.size)}{plain}{left_out}"
    if isinstance(event, Noted):
        return f"dist: {event.text}"
    if isinstance(event, Finished):
        if not event.moved:
            return f"done in {event.seconds:.1f} s"
        told = event.moved and event.seconds > 0.001
        rate = f", {human_size(round(event.moved / event.seconds))}/s" if told else ""
        return f"{human_size(event.moved)} moved in {event.seconds:.1f} s{rate}"
    return None


def short(digest: Digest) -> str:
    """As much of a digest as people look at."""
    return digest[:_SHORT]
