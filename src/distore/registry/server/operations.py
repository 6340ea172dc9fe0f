"""Operations: what those who run the server look at: /healthz, /readyz, /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError
from distore.registry import errors
from distore.registry.message import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.message import Request, Service

HEALTH: Final = "/healthz"
READY: Final = "/readyz"
METRICS: Final = "/metrics"
_TEXT: Final = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
_NUMBERS: Final = {"content-type": "text/plain; version=0.0.4; charset=utf-8", "cache-control": "no-store"}


class Operations:
    """A Service around a Service.

    Args:
        check: Raises a DistoreError when the registry cannot do its work.
        is_ending: Whether the worker is about to end.
        page: The numbers, as Prometheus reads them.
        shows: Whether a client at that address may see them.
    """

    def __init__(
        self,
        inner: Service,
        *,
        check: Callable[[], None],
        is_ending: Callable[[], bool],
        page: Callable[[], bytes],
        shows: Callable[[str], bool],
    ) -> None:
        self._inner = inner
        self._check = check
        self._is_ending = is_ending
        self._page = page
        self._shows = shows

    def quick(self, request: Request, /) -> Response | None:
        """See Service."""
        if request.path == HEALTH:
            return Response(status=200, headers=_TEXT, body=b"ok\n")
        if request.path in (READY, METRICS):
            return None
        return self._inner.quick(request)

    def handle(self, request: Request, /) -> Response:
        """See Service."""
        if request.path == HEALTH:
            return Response(status=200, headers=_TEXT, body=b"ok\n")
        if request.path == READY:
            return self._ready()
        if request.path == METRICS:
            if not self._shows(request.client):
                return errors.refusal(403, errors.DENIED, "these numbers are not for everybody")
            return Response(status=200, headers=_NUMBERS, body=self._page())
        return self._inner.handle(request)

    def _ready(self) -> Response:
        try:
            if self._is_ending():
                return Response(status=503, headers=_TEXT, body=b"stopping\n")
            self._check()
        except (DistoreError, OSError) as error:
            return Response(status=503, headers=_TEXT, body=f"{error}\n".encode())
        return Response(status=200, headers=_TEXT, body=b"ready\n")
