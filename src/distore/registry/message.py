"""Request and Response: what a handler gets and gives, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from distore.content.store import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``path`` is decoded and has no query; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """``length`` bytes of ``reader`` from ``start``; whoever sends it closes the reader."""

    reader: Reader
    start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A HEAD has the headers of the GET and a body that is not sent.

    Content-Length is that of ``body`` unless a header says otherwise.
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


Handler = Callable[[Request], Response]
