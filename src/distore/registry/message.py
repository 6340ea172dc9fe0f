"""Request and Response: what a handler gets and gives, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from distore.registry.grants import EVERYTHING, Grants

if TYPE_CHECKING:
    from distore.content.store import Reader

NO_ANSWER: Final = 0  # in the place of a status: the connection ends and nothing is sent
# In the place of a status: another worker has what the request is about, its header OWNER says which
# (its pid). The body has not been read; whoever carries requests hands this one over.
ELSEWHERE: Final = -1
OWNER: Final = "owner"
# In the place of a status, unless Request.patient: the answer is to be waited for, for as long as somebody
# else likes. Whoever carries requests asks again where nobody else is held up by that.
LATER: Final = -2
_CHUNK: Final = 64 * 1024  # bytes read at a time of a body that is kept in memory


class Body(Protocol):
    """What a client sends behind the headers; one thread reads it, once."""

    def read(self, limit: int, /) -> bytes:
        """Up to ``limit`` bytes, as soon as there are any; ``b""`` is the end.

        Raises:
            Unavailable: The connection ended or stood still before the body was whole.
        """
        ...


class BytesBody:
    """A Body in memory; an empty one unless ``data`` is given."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data
        self._offset = 0

    def read(self, limit: int, /) -> bytes:
        piece = self._data[self._offset : self._offset + limit]
        self._offset += len(piece)
        return piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``path`` is decoded and has no query; header names are lower case.

    ``query`` has the first value of each name, ``repeated`` all values of the names that came
    more than once. ``client`` is the address it comes from, without the port; ``grants`` is set by
    the gate, and allows everything where there is none. What layers put into ``notes``, which copies
    share, stands in the access log: ``user`` by the gate, ``cache`` (hit, miss, stale) by the cache.
    ``patient``: the thread may wait for other servers; see LATER.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    body: Body = field(default_factory=BytesBody, compare=False, repr=False)
    client: str = ""
    scheme: str = "http"
    grants: Grants = field(default=EVERYTHING, compare=False)
    notes: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    patient: bool = True

    def values(self, name: str) -> tuple[str, ...]:
        """Every value that the query has for ``name``."""
        if name in self.repeated:
            return self.repeated[name]
        return (self.query[name],) if name in self.query else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """``length`` bytes of ``reader`` from ``start``; whoever sends it closes the reader."""

    reader: Reader
    start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A HEAD has the headers of the GET and a body that is not sent.

    Content-Length is that of ``body`` unless a header says otherwise. ``status`` may be
    NO_ANSWER, ELSEWHERE or LATER.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Slice = b""

    @property
    def length(self) -> int:
        """Bytes in the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length

    def close(self) -> None:
        """Close what the body reads from."""
        if isinstance(self.body, Slice):
            self.body.reader.close()


class FileBacked(Protocol):
    """A Reader whose bytes lie in one open file, from its first byte on."""

    def fileno(self) -> int:
        """The open file."""
        ...


@runtime_checkable
class Arriving(Protocol):
    """A Reader of bytes that are still on their way: a read waits, and gives what there is."""

    def wait(self, offset: int, callback: Callable[[], None], /) -> bool:
        """Whether a read at ``offset`` would not wait. If it would, ``callback`` is called once, from any
        thread, when it does not any more."""
        ...


Handler = Callable[[Request], Response]


class Service(Protocol):
    """What a server serves: a Handler that may have an answer at hand."""

    def handle(self, request: Request, /) -> Response:
        """Answer; may wait for disks, locks and the network. Never raises a DistoreError."""
        ...

    def quick(self, request: Request, /) -> Response | None:
        """The answer, if it is at hand within microseconds; None: ask ``handle``. Called in the event
        loop, so it waits for nothing; a body is not read."""
        ...


def small_body(request: Request, *, limit: int) -> bytes | None:
    """The whole body; None when it has more than ``limit`` bytes, which are not read then.

    Raises:
        Unavailable: As ``Body.read``.
    """
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdecimal() and (len(told) > len(str(limit)) or int(told) > limit):
        return None
    data = bytearray()
    while len(data) <= limit and (piece := request.body.read(min(_CHUNK, limit + 1 - len(data)))):
        data += piece
    return bytes(data) if len(data) <= limit else None
