"""Sizes: bytes as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def scaled(size: int) -> tuple[str, str]:
    """Three digits or so and a unit, by thousands: ``12.3``, ``MB``."""
    amount, unit = float(size), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    digits = 0 if unit == 0 or amount >= 99.95 else 1
    return f"{amount:.{digits}f}", _UNITS[unit]


def human(size: int) -> str:
    """``12.3 MB``; ``5 GB``."""
    number, unit = scaled(size)
    return f"{number.removesuffix('.0')} {unit}"
