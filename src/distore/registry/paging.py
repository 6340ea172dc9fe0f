"""Pages: a sorted list in parts, each with a link to the next (OCI distribution-spec, "Listing Tags")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.registry.message import Request

_MAX_DIGITS = 9
T = TypeVar("T")


class Page(NamedTuple, Generic[T]):
    """Some of the list, and the headers that lead to the rest."""

    items: list[T]
    headers: Mapping[str, str]


def page_of(
    request: Request,
    listed: Callable[[str, int], list[T]],
    *,
    name: Callable[[T], str],
    path: str,
    most: int,
    keep: str = "",
) -> Page[T]:
    """``n`` of the query and at most ``most``, after ``last`` of the query.

    Args:
        listed: So many of the list, in lexical order of their names, behind a name.
        path: Where the list is; the link leads there.
        keep: Parameter of the query that the link repeats.
    Raises:
        InvalidArgument: ``n`` is no number, or ``last`` no text.
    """
    wanted = request.query.get("n", str(most))
    if not (wanted.isascii() and wanted.isdecimal()) or len(wanted) > _MAX_DIGITS:
        raise InvalidArgument("n: want a number")
    count, last = min(int(wanted), most), request.query.get("last", "")
    if not is_text(last):
        raise InvalidArgument("last: want UTF-8")
    found = listed(last, count + 1)
    page = found[:count]
    if not page or len(found) <= count:
        return Page(page, {})
    query = {"n": str(count), "last": name(page[-1])}
    if keep in request.query:
        query[keep] = request.query[keep]
    link = f"{quote(path, safe='/:')}?{urlencode(query, errors='replace')}"
    return Page(page, {"link": f'<{link}>; rel="next"'})


def is_text(text: str) -> bool:
    """Whether UTF-8 has it: what a client sends may be broken where nothing decodes it strictly."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
