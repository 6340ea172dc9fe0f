"""Words: sizes, times and digests as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.registry.pages.markup import Html, el
from distore.registry.sizes import scaled

if TYPE_CHECKING:
    from datetime import datetime

MAX_TEXT: Final = 2000  # characters of anything that a document says
_AGES: Final = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
)


def size(count: int | None) -> str:
    """Bytes by thousands: ``12.3 MB``; unknown is a dash."""
    if count is None:
        return "\N{EN DASH}"
    return "\N{NO-BREAK SPACE}".join(scaled(count))


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 tag``, ``2,345 tags``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def age(seconds: float) -> str:
    """How long ago something was."""
    for name, length in _AGES:
        whole = int(seconds // length)
        if whole >= 1:
            return f"{count(whole, name)} ago"
    return "just now"


def moment(when: datetime | None, now: float) -> Html:
    """A time as its age, with the exact one beside it; unknown is a dash."""
    if when is None:
        return el("span", "\N{EN DASH}", class_="none")
    exact = when.isoformat(timespec="seconds").replace("+00:00", "Z")
    return el("time", age(now - when.timestamp()), datetime=exact, title=exact)


def short(digest: str) -> str:
    """The beginning of a digest, enough to tell two apart."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}:{encoded[:12]}"


def cut(value: str, most: int = MAX_TEXT) -> str:
    """No more than so many characters."""
    return value if len(value) <= most else value[:most] + "\N{HORIZONTAL ELLIPSIS}"
