"""Recent: answers given a moment ago, which hold while nothing has changed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.registry.message import Slice

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.message import Request, Response
    from distore.registry.pulls import Got

CAPACITY: Final = 32 * 1024 * 1024  # bytes of bodies
MAX_BODY: Final = 256 * 1024  # bytes of one
# Seconds. Repositories tell of their own changes, but not of a file that was deleted or put aside under
# them; and who was told that a blob is there relies on its being used (Repositories.use) since.
MAX_AGE: Final = 1.0
_OVERHEAD: Final = 2048  # bytes of an answer without its body
_SPECIAL: Final = ("range", "if-none-match", "if-range")


class Kept(NamedTuple):
    """An answer; ``got`` is what whoever gets it pulls."""

    response: Response
    version: int
    when: float
    got: Got | None


class Recent:
    """Answers to plain GET and HEAD by method and path; thread-safe, waits for nothing.

    Args:
        version: As ``Repositories.version``.
        now: Seconds.
    """

    def __init__(
        self, version: Callable[[], int], now: Callable[[], float], *, capacity: int = CAPACITY
    ) -> None:
        self._version = version
        self._now = now
        self._capacity = capacity
        self._guard = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()
        self._size = 0  # bytes

    def get(self, request: Request) -> Kept | None:
        """The answer, if it still holds."""
        key = (request.method, request.path)
        with self._guard:
            kept = self._kept.get(key)
        if kept is None or not is_plain(request):
            return None
        if kept.version != self._version() or not 0 <= self._now() - kept.when < MAX_AGE:
            return None
        return kept

    def keep(self, request: Request, response: Response, *, version: int, got: Got | None = None) -> Response:
        """Remember a whole answer; the same answer, which may be sent instead.

        Args:
            version: From before the answer was looked up.
            got: As Kept.
        """
        if response.status != 200 or response.length > MAX_BODY or not is_plain(request):
            return response
        if isinstance(response.body, Slice):
            with response.body.reader as reader:
                data = reader.read_at(response.body.length, response.body.start)
            response = replace(response, body=data)
        self._put(request, response, version, got)
        return response

    def keep_head(self, request: Request, response: Response, *, version: int) -> Response:
        """As ``keep``, for a HEAD alone, whatever the size of the body is."""
        if response.status == 200 and is_plain(request):
            headers = {**response.headers, "content-length": str(response.length)}
            self._put(request, replace(response, headers=headers, body=b""), version, None)
        return response

    def _put(self, request: Request, response: Response, version: int, got: Got | None) -> None:
        kept = Kept(response, version, self._now(), got)
        key = (request.method, request.path)
        with self._guard:
            self._take(key)
            self._kept[key] = kept
            self._size += response.length + _OVERHEAD
            while self._size > self._capacity:
                self._take(next(iter(self._kept)))

    def _take(self, key: tuple[str, str]) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._size -= old.response.length + _OVERHEAD


def is_plain(request: Request) -> bool:
    """Whether it asks for all there is, without conditions."""
    return not request.query and not any(name in request.headers for name in _SPECIAL)
