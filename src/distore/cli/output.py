"""What a command prints: results on standard output as text or JSON lines, talk on standard error."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, TextIO

from distore.errors import DistoreError, FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

_SIZE_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_AGE_UNITS: Final = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("week", 7 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
    ("second", 1),
)


class Output:
    """Where a command's results and notes go. ``status`` is the exit status so far; with ``goes_on``,
    talk that cannot be said is lost instead of an error."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.status = 0
        self.goes_on = False

    @property
    def stdout(self) -> TextIO:
        """Standard output.

        Raises:
            FailedPrecondition: It is closed.
        """
        if sys.stdout is None:
            raise FailedPrecondition("standard output is closed")
        return sys.stdout

    def line(self, text: str) -> None:
        """One line of text as a result."""
        self.stdout.write(text + "\n")

    def record(self, text: str, /, **fields: object) -> None:
        """One result: ``text`` for people, ``fields`` as one JSON line with ``--json``."""
        self.line(json_line(fields) if self.as_json else text)

    def header(self, text: str) -> None:
        """The head of a table; not part of JSON."""
        if not self.as_json:
            self.line(text)

    def note(self, text: str) -> None:
        """Talk: one line on standard error."""
        if sys.stderr is not None:
            with self.unheard() if self.goes_on else nullcontext():
                sys.stderr.write(f"{inert(text)}\n")

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """Go on when nobody reads what is said any more, or the disk of a log is full."""
        try:
            yield
        except BrokenPipeError:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                try:
                    stream.flush()
                except BrokenPipeError:  # what waits to be said would be tried again, and fail, every time
                    with open(os.devnull, "wb") as nowhere:
                        os.dup2(nowhere.fileno(), stream.fileno())
        except OSError:
            return

    def error(self, error: DistoreError, *, subject: str = "") -> None:
        """Report an error, about ``subject`` if it does not say so itself, and go on; the first
        one decides the exit status."""
        self.note(f"dist: {subject}: {error}" if subject else f"dist: {error}")
        self.status = self.status or error.exit_code

    def flush(self) -> None:
        """Hand everything to the reader now."""
        if sys.stdout is not None:
            sys.stdout.flush()


def json_line(fields: Mapping[str, object]) -> str:
    """One JSON object on one line, keys in the order given; times as RFC 3339."""
    import json
    from datetime import datetime

    def plain(value: object) -> str:
        assert isinstance(value, datetime)
        return timestamp(value)

    text = json.dumps(fields, default=plain, ensure_ascii=False, separators=(",", ":"))
    if text.isprintable():
        return text
    # JSON lets some characters be that a terminal obeys, and half ones that no encoding has.
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def timestamp(when: datetime) -> str:
    """RFC 3339 in UTC."""
    return when.isoformat().replace("+00:00", "Z")


def row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells padded to ``widths`` and two spaces apart; the last one is not padded.

    Widths are fixed, not measured: a listing streams, whatever its length.
    """
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return "  ".join([*padded, *cells[len(widths) :]]).rstrip()


def human_size(size: int) -> str:
    """Bytes as people read them, by thousands: ``12.3 MB``."""
    amount, unit = float(size), 0
    while amount >= 999.5 and unit < len(_SIZE_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    if unit == 0 or amount >= 99.95:
        return f"{amount:.0f} {_SIZE_UNITS[unit]}"
    return f"{amount:.1f} {_SIZE_UNITS[unit]}"


def human_age(seconds: float) -> str:
    """A duration as people read it: ``3 seconds``, ``2 hours``."""
    for name, length in _AGE_UNITS:
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "now"


def inert(text: str) -> str:
    """A message as one line that no terminal obeys, whatever strangers put into it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def printable(text: str) -> str:
    """A ref or label as one safe line, whatever it holds."""
    return text if text.isprintable() else ascii(text)
