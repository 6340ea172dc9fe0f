"""Pages: a sorted list in parts, each with a link to the next (OCI distribution-spec, "Listing Tags")."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from distore.registry.message import Request

_MAX_DIGITS = 9


class Page(NamedTuple):
    """Some of the names, and the headers that lead to the rest."""

    names: list[str]
    headers: Mapping[str, str]


def page_of(request: Request, names: Iterable[str], *, path: str, most: int, keep: str = "") -> Page:
    """In lexical order, ``n`` of the query and at most ``most``, after ``last`` of the query.

    Args:
        path: Where the list is; the link leads there.
        keep: Parameter of the query that the link repeats.
    Raises:
        InvalidArgument: ``n`` is no number.
    """
    wanted = request.query.get("n", str(most))
    if not (wanted.isascii() and wanted.isdecimal()) or len(wanted) > _MAX_DIGITS:
        raise InvalidArgument("n: want a number")
    count, last = min(int(wanted), most), request.query.get("last", "")
    rest = sorted(name for name in names if name > last)
    page = rest[:count]
    if not page or len(rest) <= count:
        return Page(page, {})
    query = {"n": str(count), "last": page[-1]}
    if keep in request.query:
        query[keep] = request.query[keep]
    return Page(page, {"link": f'<{path}?{urlencode(query)}>; rel="next"'})
