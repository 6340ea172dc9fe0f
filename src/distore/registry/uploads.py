"""Uploads: blobs on their way in, request by request (OCI distribution-spec, "Pushing blobs")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import AlreadyExists, DigestMismatch, InvalidArgument, NotFound, OutOfRange
from distore.oci.digest import HEX_LENGTHS, Digest
from distore.registry import errors
from distore.registry.grants import PULL
from distore.registry.message import Response
from distore.registry.names import is_repository

if TYPE_CHECKING:
    from distore.content.store import Provider
    from distore.registry.features import Features
    from distore.registry.message import Request
    from distore.registry.sessions import Session, Sessions
    from distore.repositories import Repositories

_PIECE: Final = 1024 * 1024  # bytes read and written at a time
_RANGE: Final = re.compile(r"(?:bytes )?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?")


class _Chunk(NamedTuple):
    start: int | None  # None: where the session is
    size: int | None  # None: up to the end of the body


class Uploads:
    """Requests of the sessions of all repositories; safe to use from any thread."""

    def __init__(
        self, store: Provider, repositories: Repositories, sessions: Sessions, *, features: Features
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._sessions = sessions
        self._features = features

    def start(self, request: Request, repository: str) -> Response:
        """POST: a session; or at once the blob, which is mounted or in the body."""
        mounted = self._mount(request, repository)
        if mounted is not None:
            return mounted
        if "digest" in request.query:
            return self._whole(request, repository)
        algorithm = request.query.get("digest-algorithm")
        if algorithm is not None and algorithm not in HEX_LENGTHS:
            known = ", ".join(HEX_LENGTHS)
            return errors.refusal(
                400, errors.DIGEST_INVALID, f"digest-algorithm {algorithm[:40]!a}: want one of {known}"
            )
        session_id = self._sessions.begin(repository, algorithm=algorithm)
        headers = _headers(repository, session_id, 0)
        if self._features.min_chunk is not None:
            headers["oci-chunk-min-length"] = str(self._features.min_chunk)
        return Response(status=202, headers=headers)

    def patch(self, request: Request, repository: str, session_id: str) -> Response:
        """PATCH: the next bytes; what comes is kept, even when the connection ends before the last."""
        if not self._features.chunked:
            return errors.refusal(
                405, errors.UNSUPPORTED, "blobs come whole here: use PUT", allow="GET, HEAD, PUT, DELETE"
            )
        with self._sessions.held(repository, session_id) as session:
            if session is None:
                return _unknown(session_id)
            refused = self._append(request, session)
            return refused or Response(status=202, headers=_headers_of(session))

    def finish(self, request: Request, repository: str, session_id: str) -> Response:
        """PUT: the last bytes, if any, and the digest that all of them must have."""
        digest = _digest_of(request)
        with self._sessions.held(
            repository, session_id, expected=None if isinstance(digest, Response) else digest
        ) as session:
            if session is None:
                return _unknown(session_id)
            return digest if isinstance(digest, Response) else self._finish(request, session, digest)

    def status(self, repository: str, session_id: str) -> Response:
        """GET: how far it is."""
        offset = self._sessions.offset(repository, session_id)
        if offset is None:
            return _unknown(session_id)
        return Response(status=204, headers=_headers(repository, session_id, offset))

    def cancel(self, repository: str, session_id: str) -> Response:
        """DELETE: drop it."""
        with self._sessions.held(repository, session_id) as session:
            if session is None:
                return _unknown(session_id)
            self._sessions.end(session)
            return Response(status=204)

    def _mount(self, request: Request, repository: str) -> Response | None:
        if "mount" not in request.query or not self._features.mount:
            return None
        try:
            digest = Digest(request.query["mount"])
        except InvalidArgument:
            return None  # what cannot be mounted becomes an upload (the specification)
        source = self._source(request, digest)
        if source is None or not self._repositories.mount(source, repository, digest):
            return None
        try:
            self._store.reader(digest).close()
        except NotFound:
            return None  # the bytes are lost; who pushes them again mends that
        return _created(repository, digest)

    def _source(self, request: Request, digest: Digest) -> str | None:
        """A repository to mount from: only one that the client could pull the blob from."""
        if "from" in request.query:
            named = request.query["from"]
            found = [named] if is_repository(named) else []
        else:
            found = self._repositories.owners(digest)
        return next((name for name in found if request.grants.may(PULL, name)), None)

    def _whole(self, request: Request, repository: str) -> Response:
        digest = _digest_of(request)
        if isinstance(digest, Response):
            return digest
        with self._sessions.fresh(repository, digest) as session:
            return self._finish(request, session, digest)

    def _finish(self, request: Request, session: Session, digest: Digest) -> Response:
        refused = self._append(request, session, last=True)
        if refused is not None:
            return refused
        writer, session.writer = session.open_writer, None  # closed by the commit, one way or the other
        size = writer.offset
        with self._repositories.keeping(digest):
            try:
                writer.commit(expected=digest)
            except AlreadyExists:
                pass  # the bytes were verified all the same
            except DigestMismatch as error:
                self._sessions.end(session)
                return errors.refusal(
                    400,
                    errors.DIGEST_INVALID,
                    f"upload {session.id}: want {error.expected}, got {error.actual}",
                )
            self._repositories.add_blob(session.repository, digest, size)
        self._sessions.end(session)
        return _created(session.repository, digest)

    def _append(self, request: Request, session: Session, *, last: bool = False) -> Response | None:
        """Take the body; None, or why not."""
        writer = session.open_writer
        start = writer.offset
        try:
            chunk = _chunk_of(request)
            if chunk.start not in (None, start):
                raise OutOfRange(f"upload {session.id}: the next byte is {start}, not {chunk.start}")
        except OutOfRange as error:
            headers = {name.replace("-", "_"): value for name, value in _headers_of(session).items()}
            return errors.refusal(416, errors.BLOB_UPLOAD_INVALID, str(error), **headers)
        except InvalidArgument as error:
            return errors.refusal(400, errors.SIZE_INVALID, str(error))
        while piece := request.body.read(_PIECE):
            if session.short:
                return errors.refusal(400, errors.BLOB_UPLOAD_INVALID, self._too_short(session))
            writer.write(piece)
        taken = writer.offset - start
        if chunk.size not in (None, taken):
            writer.truncate(start)
            return errors.refusal(
                400, errors.SIZE_INVALID, f"upload {session.id}: {chunk.size} bytes announced, got {taken}"
            )
        if taken and not last:
            session.short = taken < (self._features.min_chunk or 0)
        return None

    def _too_short(self, session: Session) -> str:
        return f"upload {session.id}: only the last chunk may be under {self._features.min_chunk} bytes"


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


def _digest_of(request: Request) -> Digest | Response:
    """What the query says that the blob is, or why that is nothing."""
    try:
        return Digest(request.query.get("digest", ""))
    except InvalidArgument as error:
        return errors.refusal(400, errors.DIGEST_INVALID, str(error))


def _headers_of(session: Session) -> dict[str, str]:
    return _headers(session.repository, session.id, session.open_writer.offset)


def _headers(repository: str, session_id: str, offset: int) -> dict[str, str]:
    """What every answer about a session has; the state is for clients that would drop it."""
    return {
        "location": f"/v2/{repository}/blobs/uploads/{session_id}?_state={offset}",
        "docker-upload-uuid": session_id,
        "range": f"0-{max(0, offset - 1)}",
    }


def _created(repository: str, digest: Digest) -> Response:
    headers = {"location": f"/v2/{repository}/blobs/{digest}", "docker-content-digest": str(digest)}
    return Response(status=201, headers=headers)


def _unknown(session_id: str) -> Response:
    return errors.refusal(404, errors.BLOB_UPLOAD_UNKNOWN, f"upload {session_id[:80]!a} is unknown")
