"""Range: which part of a blob a client wants (RFC 9110, section 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import OutOfRange

if TYPE_CHECKING:
    from distore.registry.message import Request

_MAX_DIGITS: Final = 19


class Span(NamedTuple):
    """``length`` bytes from ``start``; ``partial`` when it answers a Range."""

    start: int
    length: int
    partial: bool


def span_of(request: Request, *, size: int, etag: str) -> Span:
    """What to send of ``size`` bytes: all, when there is no range that can be answered as one.

    Raises:
        OutOfRange: The range begins at or past the end.
    """
    whole = Span(0, size, partial=False)
    header = request.headers.get("range", "")
    condition = request.headers.get("if-range")
    unit, equals, spec = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals or "," in spec or condition not in (None, etag):
        return whole
    first, dash, last = (part.strip() for part in spec.partition("-"))
    start, end = _number(first), _number(last)
    if not dash or (first and start is None) or (last and end is None) or (start is end is None):
        return whole
    if start is None:  # the last so many bytes
        length = min(end or 0, size)
        start, end = size - length, size - 1
    elif end is not None and end < start:
        return whole
    if start >= size:
        raise OutOfRange(f"range {spec[:40]!a}: the blob has {size} bytes")
    return Span(start, min(size - 1 if end is None else end, size - 1) - start + 1, partial=True)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None
