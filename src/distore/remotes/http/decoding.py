"""Content-Encoding: undoing what a server does to bytes although it was asked not to."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from distore.errors import Unavailable, Unimplemented

if TYPE_CHECKING:
    from distore.remotes.http.body import Response

_GZIP: Final = zlib.MAX_WBITS | 16


def is_encoded(response: Response, size: int | None) -> bool:
    """Whether the body must be decoded to have the object's ``size`` (None: unknown) bytes.

    Some servers call a compressed layer gzip-encoded and send it as it is; its length tells.
    """
    encoding = _encoding(response)
    return encoding not in ("", "identity") and (size is None or response.length != size)


class Decoded:
    """The body of a gzip-encoded answer, decoded as it is read; memory stays bounded.

    Raises:
        Unimplemented: Another encoding.
    """

    def __init__(self, response: Response) -> None:
        encoding = _encoding(response)
        if encoding not in ("gzip", "x-gzip"):
            raise Unimplemented(
                f"{response.where}: sends content-encoding {encoding[:40]!a}, though asked for none"
            )
        self._response = response
        self._inflater = zlib.decompressobj(_GZIP)
        self._waiting = b""  # encoded bytes not decoded yet

    def read(self, limit: int, /) -> bytes:
        """As ``Response.read``, decoded.

        Raises:
            Unavailable: The encoded bytes are damaged or end early, besides what Response raises.
        """
        while True:
            if not self._waiting and not self._inflater.eof:
                self._waiting = self._response.read(limit)
                if not self._waiting:
                    raise Unavailable(f"{self._response.where}: its gzip-encoded answer ends early")
            try:
                data = self._inflater.decompress(self._waiting, limit)
            except zlib.error as error:
                raise Unavailable(f"{self._response.where}: its gzip-encoded answer is damaged") from error
            self._waiting = self._inflater.unconsumed_tail
            if data or self._inflater.eof:
                return data


def _encoding(response: Response) -> str:
    return (response.header("content-encoding") or "").strip().lower()
