"""CrossSite: what a browser sends for a page of another site, with the rights of whoever sits before it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from distore.registry import errors

if TYPE_CHECKING:
    from distore.registry.message import Request, Response, Service

_SAFE: Final = ("GET", "HEAD")


class CrossSite:
    """A Service before a registry without a gate, where reaching it is the only right there is.

    Nobody's page can write to it, and none whose name might have been pointed at this address a moment
    ago (DNS rebinding): those of addresses and of localhost alone can.
    """

    def __init__(self, inner: Service) -> None:
        self._inner = inner

    def handle(self, request: Request, /) -> Response:
        if is_cross_site(request) or _has_named_origin(request):
            return refused()
        return self._inner.handle(request)

    def quick(self, request: Request, /) -> Response | None:
        return self._inner.quick(request) if request.method in _SAFE else None


def is_cross_site(request: Request) -> bool:
    """Whether a page of another site has it sent; a reading is none of these: no other page sees it."""
    if request.method in _SAFE:
        return False
    site = request.headers.get("sec-fetch-site", "")
    if site:
        return site not in ("none", "same-origin")
    # Browsers tell the site to HTTPS and to localhost alone, and old ones never do.
    origin = request.headers.get("origin", "")
    return bool(origin) and _place_of(origin) != request.headers.get("host", "").lower()


def refused() -> Response:
    """The answer to it."""
    return errors.refusal(403, errors.DENIED, "a page of another site cannot ask for this")


def _has_named_origin(request: Request) -> bool:
    origin = request.headers.get("origin", "")
    if not origin or request.method in _SAFE:
        return False
    try:
        host = urlsplit(origin).hostname or ""
        if host != "localhost":
            ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _place_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
