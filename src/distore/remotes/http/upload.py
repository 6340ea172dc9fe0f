"""Upload: one blob into a repository, chunk by chunk, going on where a connection or a process broke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urljoin

from distore.errors import (
    DistoreError,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Unavailable,
)
from distore.remotes.http.address import split_url
from distore.remotes.http.bodies import Slice, Whole
from distore.remotes.http.client import PUSH
from distore.remotes.http.errors import error_from
from distore.remotes.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore._internal.retry import Retrier
    from distore.content.store import Reader
    from distore.oci.descriptor import Descriptor
    from distore.remotes.http.body import Response
    from distore.remotes.http.client import Client
    from distore.remotes.http.hosts import Host
    from distore.remotes.sessions import Sessions

# A registry that keeps nothing of a request that broke off loses at most one chunk; each chunk
# costs a round trip. A blob of one chunk goes in one request that ends the upload, too.
CHUNK: Final = 64 * 1024 * 1024  # bytes
_OCTETS: Final = "application/octet-stream"


class Upload:
    """One blob on its way. ``run`` may be called once.

    Args:
        host: Who takes it.
        sources: Repositories of the same registry that may have the blob.
        on_progress: Told how many bytes the other side has taken, or is being sent.
    """

    def __init__(
        self,
        client: Client,
        host: Host,
        descriptor: Descriptor,
        *,
        sources: Sequence[str],
        sessions: Sessions,
        retrier: Retrier,
        on_progress: Callable[[int], None],
    ) -> None:
        self._client = client
        self._host = host
        self._descriptor = descriptor
        self._sources = sources
        self._sessions = sessions
        self._retrier = retrier
        self._on_progress = on_progress
        self._session: Session | None = None
        self._sure = True  # whether the session's offset is what the registry has
        self._whole = False  # chunks are not taken: all in one request
        self._moved = 0
        self.subject = f"{client.repository.name}@{descriptor.digest}"

    def run(self, reader: Reader) -> str:
        """``mounted`` or ``pushed``.

        Raises:
            InvalidArgument: The registry says the bytes are not those of the digest.
            Unauthenticated, PermissionDenied, Unavailable, DeadlineExceeded: As Client.
        """
        self._session = self._sessions.take(self._client.repository.name, self._descriptor.digest)
        self._sure = self._session is None
        if self._session is None and self._retrier.run(self._begin):
            return "mounted"
        while not self._retrier.run(lambda: self._step(reader), progress=lambda: self._moved):
            pass
        self._sessions.forget(self._client.repository.name, self._descriptor.digest)
        return "pushed"

    def _begin(self) -> bool:
        """A new session, unless the registry has the blob in one of the other repositories."""
        for source in self._sources:
            if self._mount(source):
                return True
            if self._session is not None:
                return False  # it gave a session instead: use it
        if self._session is None:
            self._open(self._post({}, PUSH))
        return False

    def _mount(self, source: str) -> bool:
        scope = f"{self._client.scope(PUSH)} repository:{source}:pull"
        try:
            response = self._post({"mount": self._descriptor.digest, "from": source}, None, scope=scope)
        except Unavailable:
            raise
        except DistoreError:
            return False  # not allowed to look there
        if response.status == 201:
            response.discard()
            return True
        if response.status == 202:
            self._open(response)
        else:
            response.discard()
        return False

    def _post(self, query: Mapping[str, str], actions: str | None, *, scope: str | None = None) -> Response:
        return self._client.request(
            self._host,
            "POST",
            "blobs/uploads/",
            headers={},
            scope=scope or self._client.scope(actions or PUSH),
            query=query,
            body=Whole(),
        )

    def _open(self, response: Response) -> None:
        if response.status != 202:
            raise error_from(response, self.subject)
        self._accepted(response, 0, f"{self._host.url}/{self._client.repository.path}/blobs/uploads/")
        response.discard()
        self._sure = True

    def _step(self, reader: Reader) -> bool:
        """One request; whether it was the last."""
        if self._session is None and self._begin():
            return True
        if not self._sure:
            self._look()
        session = self._session
        if session is None:
            return False
        size, offset = self._descriptor.size, session.offset
        if self._whole or size - offset <= CHUNK:
            return self._finish(reader, session)
        end = min(size, offset + CHUNK)
        response = self._send("PATCH", session.location, reader, offset, end)
        if response.status in (202, 204):
            self._accepted(response, end, session.location)
            response.discard()
            return False
        if response.status in (405, 501) or (response.status == 400 and offset == 0):
            response.discard()  # no chunks: everything at once, in another session
            self._whole, self._session = True, None
            return False
        raise self._refusal(response)

    def _finish(self, reader: Reader, session: Session) -> bool:
        location = _with_query(session.location, {"digest": self._descriptor.digest})
        response = self._send("PUT", location, reader, session.offset, self._descriptor.size)
        if response.status in (201, 204):
            response.discard()
            self._on_progress(self._descriptor.size)
            return True
        raise self._refusal(response)

    def _send(self, method: str, url: str, reader: Reader, start: int, end: int) -> Response:
        headers = {"Content-Type": _OCTETS}
        if method == "PATCH" or start:
            headers["Content-Range"] = f"{start}-{end - 1}"
        if start == end:
            headers.pop("Content-Range", None)
        self._sure = False  # until it is answered
        return self._client.request_url(
            self._host,
            method,
            url,
            headers=headers,
            scope=self._client.scope(PUSH),
            body=Slice(reader, start, end, self._sent),
        )

    def _sent(self, offset: int) -> None:
        self._moved = max(self._moved, offset)
        self._on_progress(offset)

    def _refusal(self, response: Response) -> DistoreError:
        """Unavailable when it is worth another look, or what the answer says."""
        error = error_from(response, self.subject)
        if response.status == 416:
            return Unavailable(f"{self.subject}: the registry has another part of the upload")
        if isinstance(error, NotFound) and self._session is not None:
            self._session = None  # the session is gone: begin anew, but not for ever
            return Unavailable(f"{self.subject}: the registry has lost the upload")
        return error

    def _look(self) -> None:
        """Ask how far the session is; without a good answer there is none."""
        assert self._session is not None
        location, self._session = self._session.location, None
        self._sure = True
        try:
            split_url(location)
        except InvalidArgument:
            return
        response = self._client.request_url(
            self._host, "GET", location, headers={}, scope=self._client.scope(PUSH)
        )
        try:
            if response.status not in (202, 204):
                return
            self._accepted(response, None, location)
        except OutOfRange:
            return
        finally:
            response.discard()

    def _accepted(self, response: Response, sent: int | None, asked: str) -> None:
        """The session as an answer describes it.

        Raises:
            OutOfRange: It has other bytes than were sent.
        """
        offset = offset_of(response.header("range"), sent)
        if offset is None or offset > self._descriptor.size:
            raise OutOfRange(f"{self.subject}: the registry does not tell how far the upload is")
        told = response.header("location")
        location = urljoin(asked, told) if told else asked
        split_url(location)
        self._session = Session(location=location, offset=offset)
        self._sure = True
        if offset:
            self._sessions.keep(self._client.repository.name, self._descriptor.digest, self._session)


def offset_of(text: str | None, sent: int | None) -> int | None:
    """How many bytes a registry has, from ``Range: 0-99``; what was sent when it does not tell.

    ``0-0`` is what some say of an upload without a byte, and what others say of one byte.
    """
    if not text:
        return sent
    first, dash, last = text.strip().removeprefix("bytes").lstrip(" =").partition("-")
    good = dash and all(part.isascii() and part.isdecimal() and len(part) < 20 for part in (first, last))
    if not good or int(first):
        return sent
    return int(last) + 1 if int(last) or sent == 1 else 0


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
