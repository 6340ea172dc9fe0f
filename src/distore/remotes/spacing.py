"""Spacing: the arithmetic of asking a host less often, without clocks, chance or files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST: Final = 0.5  # seconds between requests after the first refusal; it doubles from there
WIDEST: Final = 30.0  # seconds
MAX_PAUSE: Final = 86400.0  # seconds that a host may ask for
KEPT: Final = 3600.0  # seconds after which nothing counts any more
_DECAY: Final = 0.75  # what a success leaves of the spacing
_NARROWEST: Final = 0.05  # seconds; less is none
_SKEW: Final = 60.0  # seconds by which clocks that share a store may differ


class Spacing(NamedTuple):
    """What is known of a host that refused somebody; moments are seconds since the epoch.

    Nobody asks it before ``until``. ``slot`` is the first moment that nobody has reserved, and
    ``spacing`` the seconds between two of them. ``told`` is when this was written.
    """

    told: float
    until: float
    slot: float
    spacing: float


def refused(old: Spacing | None, now: float, *, retry_after: float | None, chance: float) -> Spacing:
    """It answered 429 or 503.

    Args:
        retry_after: Seconds that it asked for, or None.
        chance: From 0 up to 1: stores that know nothing of each other do not come back at once.
    """
    if old is None:
        spacing = FIRST
    elif retry_after is not None or now < old.until:  # of requests sent together one counts
        spacing = max(FIRST, old.spacing)
    else:
        spacing = min(WIDEST, max(FIRST, 2 * old.spacing))
    pause = spacing if retry_after is None else min(MAX_PAUSE, retry_after)
    until = now + pause + chance * spacing
    if old is None:
        return Spacing(now, until, until, spacing)
    known = retry_after is None and now < old.until
    until = old.until if known else max(old.until, until)
    return Spacing(now, until, max(until, old.slot), spacing)


def warned(old: Spacing | None, now: float) -> Spacing:
    """It answered, and allows no more."""
    return old or Spacing(now, now, now + FIRST, FIRST)


def succeeded(old: Spacing | None, now: float) -> Spacing | None:
    """It answered; None: nothing is left to remember."""
    if old is None or now < old.until:  # it was asked before it refused
        return old
    spacing = old.spacing * _DECAY
    return None if spacing < _NARROWEST else old._replace(told=now, spacing=spacing)


def reserve(old: Spacing, now: float) -> tuple[float, Spacing]:
    """How many seconds to wait, and what is known once that moment is taken."""
    at = max(now, old.until, old.slot)
    return at - now, old._replace(told=now, slot=at + old.spacing)


def still_good(found: Spacing | None, now: float) -> Spacing | None:
    """``found``, or None when it is too old, or the clock has gone back since."""
    if found is None or found.told > now + _SKEW or now > max(found.told, found.until) + KEPT:
        return None
    return found


def write(spacing: Spacing) -> str:
    """As lines ``key value``."""
    return "".join(f"{key} {value:.6f}\n" for key, value in spacing._asdict().items())


def parse(fields: Mapping[str, str]) -> Spacing | None:
    """What ``write`` wrote; None for anything else."""
    try:
        told, until, slot, spacing = (float(fields[key]) for key in Spacing._fields)
    except (KeyError, ValueError):
        return None
    if not all(math.isfinite(value) for value in (told, until, slot, spacing)):
        return None
    far = max(until, slot) - told > 2 * MAX_PAUSE
    return None if far or not 0 < spacing <= WIDEST else Spacing(told, until, slot, spacing)
