"""Upload: one blob into a repository, chunk by chunk, going on where a connection or a process broke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from distore.errors import (
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from distore.remotes.http.address import follow
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
_LOOKS: Final = 2  # tries to find out how far a session is, before another one is begun
_BUSY: Final = frozenset((429, 502, 503, 504))  # say nothing about the upload


class Upload:
    """One blob on its way. ``run`` may be called once.

    Args:
        host: Who takes it.
        sources: Repositories of the same registry that may have the blob.
        chunk_size: Bytes in one request; more when the registry asks for more.
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
        chunk_size: int = CHUNK,
    ) -> None:
        self._client = client
        self._host = host
        self._descriptor = descriptor
        self._sources = sources
        self._sessions = sessions
        self._retrier = retrier
        self._on_progress = on_progress
        self._chunk_size = chunk_size
        self._session: Session | None = None
        self._sure = True  # whether the session's offset is what the registry has
        self._whole = False  # chunks are not taken: all in one request
        self._resumed = False  # the session has bytes of an earlier connection
        self._refused_at: int | None = None  # an offset that the registry tells and does not take
        self._ended = False  # the last request was sent; its answer may have been lost
        self._unseen = 0  # times that nobody told how far the session is
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
        response.discard()
        if not response.header("location"):
            raise FailedPrecondition(f"{self.subject}: {response.where} does not say where to upload to")
        self._resumed, self._refused_at = False, None
        least = response.header("oci-chunk-min-length") or ""
        if least.isascii() and least.isdecimal() and len(least) < 20:
            self._chunk_size = max(self._chunk_size, int(least))
        self._accepted(response, 0, f"{self._host.url}/{self._client.repository.path}/blobs/uploads/")

    def _step(self, reader: Reader) -> bool:
        """One request; whether it was the last."""
        if self._session is None and (self._is_there() or self._begin()):
            return True
        if not self._sure:
            self._look()
        session = self._session
        if session is None:
            return False
        size, offset = self._descriptor.size, session.offset
        if self._whole or size - offset <= self._chunk_size:
            return self._finish(reader, session)
        end = min(size, offset + self._chunk_size)
        response = self._send("PATCH", session.location, reader, offset, end)
        if response.status in (202, 204):
            response.discard()
            if self._accepted(response, end, session.location).offset <= offset:
                raise Unavailable(f"{self.subject}: {response.where} took nothing of {end - offset} bytes")
            return False
        if offset == 0 and response.status in (400, 405, 501):
            response.discard()  # no chunks: everything at once, in another session
            self._whole, self._session = True, None
            return False
        raise self._refusal(response)

    def _finish(self, reader: Reader, session: Session) -> bool:
        location = _with_query(session.location, {"digest": self._descriptor.digest})
        self._ended = True
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
        if isinstance(error, OutOfRange) and self._session is not None:
            self._refused_at = self._session.offset
            return Unavailable(f"{self.subject}: the registry has another part of the upload")
        if isinstance(error, NotFound) and self._session is not None:
            self._session = None  # the session is gone: begin anew, but not for ever
            return Unavailable(f"{self.subject}: the registry has lost the upload")
        if isinstance(error, InvalidArgument | Unimplemented) and self._resumed:
            self._session = None  # what it kept may be wrong, or it cannot go on with it
            return Unavailable(f"{error}; the upload begins anew")
        return error

    def _look(self) -> None:
        """Ask how far the session is; when the registry does not know it there is none.

        Raises:
            Unavailable: It could not be asked; the session is kept for another look, but not for ever.
        """
        session, self._session = self._session, None
        assert session is not None
        try:
            response = self._client.request_url(
                self._host, "GET", session.location, headers={}, scope=self._client.scope(PUSH)
            )
            if response.status in _BUSY:
                raise error_from(response, self.subject)
        except Unavailable:
            self._keep(session)
            self._unseen += 1
            if self._unseen == _LOOKS:
                self._session = None  # its server may be gone, that of the registry is not
            raise
        except (InvalidArgument, FailedPrecondition, PermissionDenied, Unauthenticated):
            return  # not an address to go on at
        self._unseen = 0
        response.discard()
        if response.status not in (202, 204):
            return
        try:
            found = self._accepted(response, None, session.location)
        except OutOfRange:
            return
        # "0-0" may be no byte or one. Another session costs less than to find out.
        self._resumed = found.offset not in (0, self._refused_at)
        if not self._resumed:
            self._session = None

    def _is_there(self) -> bool:
        """Whether the upload has ended after all, when the answer to its end was lost."""
        if not self._ended:
            return False
        response = self._client.request(
            self._host,
            "HEAD",
            f"blobs/{self._descriptor.digest}",
            headers={},
            scope=self._client.scope(PUSH),
        )
        response.discard()
        self._ended = False
        return response.status == 200 and response.length in (None, self._descriptor.size)

    def _keep(self, session: Session) -> None:
        self._session = session
        if session.offset:
            self._sessions.keep(self._client.repository.name, self._descriptor.digest, session)

    def _accepted(self, response: Response, sent: int | None, asked: str) -> Session:
        """The session as an answer describes it.

        Raises:
            OutOfRange: It has other bytes than were sent.
            FailedPrecondition: It goes on at no usable address.
        """
        offset = offset_of(response.header("range"), sent)
        if offset is None or offset > self._descriptor.size:
            raise OutOfRange(f"{self.subject}: the registry does not tell how far the upload is")
        told = response.header("location")
        try:
            location = follow(asked, told) if told else asked
        except InvalidArgument as error:
            raise FailedPrecondition(f"{self.subject}: {response.where}: location: {error}") from error
        session = Session(location=location, offset=offset)
        self._sure = True
        self._keep(session)
        return session


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
