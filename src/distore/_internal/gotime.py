"""Go's duration syntax (time.ParseDuration), for flags and variables that containerd shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS: Final[Mapping[str, float]] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,  # not Go's: days are what people mean with --older-than
}
_NUMBER: Final = frozenset("0123456789.")
_LONGEST: Final = (2**63 - 1) // 10**9  # seconds; Go counts nanoseconds in 64 bits


def parse_duration(text: str) -> float:
    """Seconds in ``30s``, ``1m30s``, ``1.5h``, ``100ms`` or ``7d``; ``0`` needs no unit.

    Raises:
        InvalidArgument: Anything else, negative durations included.
    """
    wrong = InvalidArgument(f"duration {text[:40]!r}: want numbers with units, such as 30s, 1m30s or 24h")
    if text == "0":
        return 0.0
    total, at = 0.0, 0
    while at < len(text):
        start = at
        while at < len(text) and text[at] in _NUMBER:
            at += 1
        number, start = text[start:at], at
        while at < len(text) and text[at] not in _NUMBER:
            at += 1
        unit = _UNITS.get(text[start:at])
        if unit is None or not number.strip(".") or number.count(".") > 1 or len(number) > 20:
            raise wrong
        total += float(number) * unit
    if not text or total > _LONGEST:
        raise wrong
    return total
