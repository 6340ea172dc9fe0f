"""Content-Range: which bytes an answer holds (RFC 9110, section 14.4)."""

from __future__ import annotations

from typing import Final, NamedTuple

_MAX_DIGITS: Final = 19


class ContentRange(NamedTuple):
    """``start`` is None in an answer without bytes (416), ``size`` None when it is not told."""

    start: int | None
    end: int | None  # the last byte, inclusive
    size: int | None


def parse_content_range(text: str | None) -> ContentRange | None:
    """``bytes 0-99/200``, ``bytes 0-99/*`` or ``bytes */200``; None when it is none of them."""
    unit, _, rest = (text or "").strip().partition(" ")
    positions, slash, total = rest.partition("/")
    if unit.lower() != "bytes" or not slash:
        return None
    size = None if total == "*" else _number(total)
    if size is None and total != "*":
        return None
    if positions == "*":
        return ContentRange(None, None, size)
    first, dash, last = positions.partition("-")
    start, end = _number(first), _number(last)
    if not dash or start is None or end is None or end < start or (size is not None and end >= size):
        return None
    return ContentRange(start, end, size)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None
