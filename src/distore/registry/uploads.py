"""Uploads: blobs on their way in, each session an ingest (OCI distribution-spec, "Pushing blobs")."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distore.content.store import Ingester, IngestManager
from distore.errors import (
    AlreadyExists,
    DigestMismatch,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
)
from distore.oci.digest import Digest
from distore.registry import errors
from distore.registry.message import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.content.store import Writer
    from distore.registry.features import Features
    from distore.registry.message import Request
    from distore.repositories import Repositories

MAX_SESSIONS: Final = 1000  # open at once; each holds a writer
_PIECE: Final = 1024 * 1024  # bytes read and written at a time
_PATIENCE: Final = 5.0  # seconds that a request waits for another one of its session
_GLANCE: Final = 0.5  # seconds that a question for the status does
_RANGE: Final = re.compile(r"(?:bytes )?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?")


class Ingests(Ingester, IngestManager, Protocol):
    """Takes in blobs, and can drop what it has taken of one."""


@dataclass(slots=True, kw_only=True)
class _Session:
    id: str
    repository: str
    writer: Writer  # stays open, so that the bytes are hashed once, as they come
    guard: threading.Lock = field(default_factory=threading.Lock)  # one request at a time writes
    short: bool = False  # the last chunk was smaller than all but the very last may be
    over: bool = False

    def headers(self) -> dict[str, str]:
        """What every answer about a session has; the state is for clients that would drop it."""
        offset = self.writer.offset
        return {
            "location": f"/v2/{self.repository}/blobs/uploads/{self.id}?_state={offset}",
            "docker-upload-uuid": self.id,
            "range": f"0-{max(0, offset - 1)}",
        }


class _Chunk(NamedTuple):
    start: int | None  # None: where the session is
    size: int | None  # None: up to the end of the body


class Uploads:
    """The sessions of all repositories; safe to use from any thread."""

    def __init__(
        self, store: Ingests, repositories: Repositories, *, features: Features, new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._features = features
        self._new_id = new_id
        self._guard = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    def start(self, request: Request, repository: str) -> Response:
        """POST: a session; or at once the blob, which is mounted or in the body."""
        mounted = self._mount(request, repository)
        if mounted is not None:
            return mounted
        if "digest" in request.query:
            return self._whole(request, repository)
        headers = self._open(repository).headers()
        if self._features.min_chunk is not None:
            headers["oci-chunk-min-length"] = str(self._features.min_chunk)
        return Response(status=202, headers=headers)

    def patch(self, request: Request, repository: str, session_id: str) -> Response:
        """PATCH: the next bytes; what comes is kept, even when the connection ends before the last."""
        if not self._features.chunked:
            return errors.refusal(
                405, errors.UNSUPPORTED, "blobs come whole here: use PUT", allow="GET, HEAD, PUT, DELETE"
            )
        with self._held(repository, session_id) as session:
            if session is None:
                return _unknown(session_id)
            refused = self._append(request, session)
            return refused or Response(status=202, headers=session.headers())

    def finish(self, request: Request, repository: str, session_id: str) -> Response:
        """PUT: the last bytes, if any, and the digest that all of them must have."""
        with self._held(repository, session_id) as session:
            if session is None:
                return _unknown(session_id)
            return self._finish(request, session)

    def status(self, repository: str, session_id: str) -> Response:
        """GET: how far it is."""
        session = self._find(repository, session_id)
        if session is None:
            return _unknown(session_id)
        # Of a connection that broke, some bytes may still be on their way to the store.
        if session.guard.acquire(timeout=_GLANCE):
            session.guard.release()
        return Response(status=204, headers=session.headers())

    def cancel(self, repository: str, session_id: str) -> Response:
        """DELETE: drop it."""
        with self._held(repository, session_id) as session:
            if session is None:
                return _unknown(session_id)
            self._drop(session)
            return Response(status=204)

    def close(self) -> None:
        """Close every session and keep its bytes; requests that are at work have ended before."""
        for session in self._all():
            session.writer.close()

    def drop(self) -> None:
        """Drop every session."""
        for session in self._all():
            self._drop(session)

    def _all(self) -> list[_Session]:
        with self._guard:
            return list(self._sessions.values())

    def _mount(self, request: Request, repository: str) -> Response | None:
        if "mount" not in request.query or not self._features.mount:
            return None
        try:
            digest = Digest(request.query["mount"])
        except InvalidArgument:
            return None  # what cannot be mounted becomes an upload (the specification)
        if not self._repositories.mount(request.query.get("from", ""), repository, digest):
            return None
        return _created(repository, digest)

    def _whole(self, request: Request, repository: str) -> Response:
        session = self._open(repository)
        try:
            return self._finish(request, session)
        finally:
            self._drop(session)  # nobody knows its name

    def _finish(self, request: Request, session: _Session) -> Response:
        try:
            digest = Digest(request.query.get("digest", ""))
        except InvalidArgument as error:
            return errors.refusal(400, errors.DIGEST_INVALID, str(error))
        refused = self._append(request, session, last=True)
        if refused is not None:
            return refused
        size = session.writer.offset
        with self._repositories.keeping(digest):
            try:
                session.writer.commit(expected=digest)
            except AlreadyExists:
                pass  # the bytes were verified all the same
            except DigestMismatch as error:
                return errors.refusal(
                    400,
                    errors.DIGEST_INVALID,
                    f"upload {session.id}: want {error.expected}, got {error.actual}",
                )
            finally:
                self._drop(session)
            self._repositories.add_blob(session.repository, digest, size)
        return _created(session.repository, digest)

    def _append(self, request: Request, session: _Session, *, last: bool = False) -> Response | None:
        """Take the body; None, or why not."""
        start = session.writer.offset
        try:
            chunk = _chunk_of(request)
            if chunk.start not in (None, start):
                raise OutOfRange(f"upload {session.id}: the next byte is {start}, not {chunk.start}")
        except OutOfRange as error:
            headers = {name.replace("-", "_"): value for name, value in session.headers().items()}
            return errors.refusal(416, errors.BLOB_UPLOAD_INVALID, str(error), **headers)
        except InvalidArgument as error:
            return errors.refusal(400, errors.SIZE_INVALID, str(error))
        while piece := request.body.read(_PIECE):
            if session.short:
                return errors.refusal(400, errors.BLOB_UPLOAD_INVALID, self._too_short(session))
            session.writer.write(piece)
        taken = session.writer.offset - start
        if chunk.size not in (None, taken):
            session.writer.truncate(start)
            return errors.refusal(
                400, errors.SIZE_INVALID, f"upload {session.id}: {chunk.size} bytes announced, got {taken}"
            )
        if taken and not last:
            session.short = taken < (self._features.min_chunk or 0)
        return None

    def _too_short(self, session: _Session) -> str:
        return f"upload {session.id}: only the last chunk may be under {self._features.min_chunk} bytes"

    def _open(self, repository: str) -> _Session:
        with self._guard:
            if len(self._sessions) >= MAX_SESSIONS:
                raise ResourceExhausted(f"{len(self._sessions)} uploads are open, the limit here")
            name = self._new_id()
            session = _Session(id=name, repository=repository, writer=self._store.writer(f"upload-{name}"))
            self._sessions[name] = session
            return session

    def _find(self, repository: str, session_id: str) -> _Session | None:
        with self._guard:
            session = self._sessions.get(session_id)
        return session if session is not None and session.repository == repository else None

    @contextmanager
    def _held(self, repository: str, session_id: str) -> Iterator[_Session | None]:
        """The session, for this request alone; None when there is none."""
        session = self._find(repository, session_id)
        if session is None:
            yield None
            return
        if not session.guard.acquire(timeout=_PATIENCE):
            raise Unavailable(f"upload {session_id}: another request is at work on it")
        try:
            yield None if session.over else session
        finally:
            session.guard.release()

    def _drop(self, session: _Session) -> None:
        session.over = True
        with self._guard:
            self._sessions.pop(session.id, None)
        session.writer.close()
        with suppress(NotFound):  # committed
            self._store.abort(session.writer.ref)


def _chunk_of(request: Request) -> _Chunk:
    """Where the body goes.

    Raises:
        OutOfRange: The range is none.
        InvalidArgument: Content-Length is not that of the range.
    """
    header = request.headers.get("content-range")
    if header is None:
        return _Chunk(None, None)
    found = _RANGE.fullmatch(header.strip())
    if found is None or int(found[2]) < int(found[1]):
        raise OutOfRange(f"content-range {header[:60]!a}: want START-END")
    size = int(found[2]) - int(found[1]) + 1
    told = request.headers.get("content-length")
    if told is not None and told != str(size):
        raise InvalidArgument(f"content-range {header[:60]!a}: {told[:20]!a} bytes are none of that range")
    return _Chunk(int(found[1]), size)


def _created(repository: str, digest: Digest) -> Response:
    headers = {"location": f"/v2/{repository}/blobs/{digest}", "docker-content-digest": str(digest)}
    return Response(status=201, headers=headers)


def _unknown(session_id: str) -> Response:
    return errors.refusal(404, errors.BLOB_UPLOAD_UNKNOWN, f"upload {session_id[:80]!a} is unknown")
