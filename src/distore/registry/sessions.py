"""Sessions: uploads on their way in; each is an ingest of the store, so that it outlives a process."""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.store import Ingester, IngestManager
from distore.errors import AlreadyExists, Locked, NotFound, ResourceExhausted, Unavailable
from distore.oci.digest import DEFAULT_ALGORITHM, HEX_LENGTHS, Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.content.store import Status, Writer

PREFIX: Final = "registry/"  # of the refs of everything that a registry takes in
MAX_OPEN: Final = 256  # writers open at once, each a file and a hash
MAX_SESSIONS: Final = 10_000  # begun here and not ended
IDLE: Final = 60.0  # seconds without a request until a writer is closed; its bytes stay
ABANDONED: Final = 24 * 3600.0  # seconds without a byte until an upload is dropped
_PATIENCE: Final = 5.0  # seconds that a request waits for another one of its session
_GLANCE: Final = 0.5  # seconds that a question for the status does
_ROUND: Final = 5.0  # seconds between two looks for idle writers
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


class Ingests(Ingester, IngestManager, Protocol):
    """Takes in blobs, and can drop what it has taken of one."""


class Elsewhere(Exception):  # no failure: whoever carries requests hands this one over
    """Another process has the session open; ``pid`` is its own."""

    def __init__(self, session_id: str, pid: int) -> None:
        super().__init__(f"upload {session_id}: process {pid} is at work on it")
        self.pid = pid


@dataclass(slots=True, kw_only=True)
class Session:
    """An upload that a request is at work on, or that was not idle for long."""

    id: str
    repository: str
    writer: Writer | None = None  # open between requests, so that the bytes are hashed once, as they come
    guard: threading.Lock = field(default_factory=threading.Lock)  # one request at a time writes
    users: int = 0  # requests that hold it or wait for it
    used: float = 0.0  # when the last one ended, seconds
    short: bool = False  # the last chunk was smaller than all but the very last may be
    over: bool = False

    @property
    def ref(self) -> str:
        """Of its ingest."""
        return ref_of(self.repository, self.id)

    @property
    def open_writer(self) -> Writer:
        """The writer, while the session is held."""
        assert self.writer is not None
        return self.writer


def ref_of(repository: str, session_id: str) -> str:
    """The ingest of a session: ``dist active`` shows which repository it is for."""
    return f"{PREFIX}{repository}/{session_id}"


class Sessions:
    """The sessions of all repositories; safe to use from any thread.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, store: Ingests, *, new_id: Callable[[], str], now: Callable[[], float]) -> None:
        self._store = store
        self._new_id = new_id
        self._now = now
        self._guard = threading.Lock()
        self._open: dict[str, Session] = {}  # by ref
        self._begun: dict[str, None] = {}  # refs
        self._looked = now()

    def begin(self, repository: str, *, algorithm: str | None = None) -> str:
        """The id of a new session, which any process may go on with.

        Args:
            algorithm: Of the digest that the blob will have, if it is known.
        """
        self._close_idle()
        if len(self._begun) >= MAX_SESSIONS:
            self._recount()
        session_id = self._new_id()
        ref = ref_of(repository, session_id)
        self._store.writer(ref, expected=_unknown_digest(algorithm)).close()
        with self._guard:
            self._begun[ref] = None
        return session_id

    @contextmanager
    def fresh(self, repository: str, digest: Digest) -> Iterator[Session]:
        """A session that ends with the block, for a blob that comes in one request."""
        session = Session(id=self._new_id(), repository=repository)
        session.writer = self._writer(session.ref, digest)
        try:
            yield session
        finally:
            self.end(session)

    @contextmanager
    def held(
        self, repository: str, session_id: str, *, expected: Digest | None = None
    ) -> Iterator[Session | None]:
        """The session, for this request alone; None when there is none.

        Args:
            expected: What it is to become; counts while there is no byte of it.
        Raises:
            Elsewhere: Another process has it open.
            Unavailable: Another request is at work on it.
        """
        if not _ID.fullmatch(session_id):
            yield None
            return
        session = self._entered(repository, session_id)
        try:
            if not session.guard.acquire(timeout=_PATIENCE):
                raise Unavailable(f"upload {session_id}: another request is at work on it")
            try:
                yield session if self._opened(session, expected) else None
            finally:
                session.used = self._now()
                session.guard.release()
        finally:
            self._left(session)

    def offset(self, repository: str, session_id: str) -> int | None:
        """Bytes taken so far; None when there is no such session.

        Raises:
            Elsewhere: As ``held``.
        """
        if not _ID.fullmatch(session_id):
            return None
        ref = ref_of(repository, session_id)
        with self._guard:
            session = self._open.get(ref)
        # Of a connection that broke, some bytes may still be on their way to the store.
        if session is not None and session.guard.acquire(timeout=_GLANCE):
            session.guard.release()
        status = self._status(ref)
        if status is None:
            return None
        if status.owner is not None and status.owner.pid not in (None, os.getpid()):
            raise Elsewhere(session_id, status.owner.pid)
        return status.offset

    def end(self, session: Session) -> None:
        """Forget it and its bytes; it is held, or nobody else knows it."""
        session.over = True
        writer, session.writer = session.writer, None
        if writer is not None:
            writer.close()
        with suppress(NotFound):  # committed
            self._store.abort(session.ref)
        with self._guard:
            self._begun.pop(session.ref, None)

    def expire(self, now: float, *, idle: float = ABANDONED) -> int:
        """Drop what got no byte for ``idle`` seconds and nobody holds; how many those were."""
        self._close_idle(now=now)
        dropped = 0
        for status in self._store.statuses():
            if not status.ref.startswith(PREFIX) or status.owner is not None:
                continue
            if now - status.updated.timestamp() < idle:
                continue
            with suppress(NotFound, Locked):
                self._store.abort(status.ref)
                dropped += 1
            with self._guard:
                self._begun.pop(status.ref, None)
        return dropped

    def close(self) -> None:
        """Close every writer and keep its bytes; requests that are at work have ended before."""
        for session in self._all():
            if session.writer is not None:
                session.writer.close()
                session.writer = None

    def drop(self) -> None:
        """Drop everything that was begun here and not ended."""
        for session in self._all():
            self.end(session)
        with self._guard:
            begun = list(self._begun)
            self._begun.clear()
        for ref in begun:
            with suppress(NotFound):
                self._store.abort(ref)

    def _recount(self) -> None:
        """Forget what ended elsewhere.

        Raises:
            ResourceExhausted: As many as may be are still open.
        """
        there = {status.ref for status in self._store.statuses() if status.ref.startswith(PREFIX)}
        with self._guard:
            self._begun = {ref: None for ref in self._begun if ref in there}
            if len(self._begun) >= MAX_SESSIONS:
                raise ResourceExhausted(f"{len(self._begun)} uploads are open, the limit here")

    def _all(self) -> list[Session]:
        with self._guard:
            return list(self._open.values())

    def _entered(self, repository: str, session_id: str) -> Session:
        ref = ref_of(repository, session_id)
        with self._guard:
            session = self._open.get(ref)
            if session is None:
                session = self._open[ref] = Session(id=session_id, repository=repository)
            session.users += 1
            return session

    def _left(self, session: Session) -> None:
        with self._guard:
            session.users -= 1
            if not session.users and session.writer is None:
                self._open.pop(session.ref, None)
        self._close_idle()

    def _opened(self, session: Session, expected: Digest | None) -> bool:
        """Whether it is there; its writer is open then."""
        if session.over:
            return False
        if session.writer is not None:
            return True
        status = self._status(session.ref)
        if status is None:
            return False
        self._make_room()
        try:
            writer = self._writer(session.ref, None if status.offset else expected)
        except Locked as error:
            if error.pid is None or error.pid == os.getpid():
                raise
            raise Elsewhere(session.id, error.pid) from error
        session.writer = writer
        if writer.offset < status.offset:  # ended elsewhere since we looked: what we have opened is another
            self.end(session)
            return False
        return True

    def _writer(self, ref: str, expected: Digest | None) -> Writer:
        """Open it; the digest only says how to hash: who pushes what is there has to have it, too."""
        if expected is None or expected.algorithm == DEFAULT_ALGORITHM:
            return self._store.writer(ref)
        try:
            return self._store.writer(ref, expected=expected)
        except AlreadyExists:
            return self._store.writer(ref)

    def _status(self, ref: str) -> Status | None:
        try:
            return self._store.status(ref)
        except NotFound:
            return None

    def _make_room(self) -> None:
        """Close the writer that was idle for longest when there are too many."""
        with self._guard:
            held = [session for session in self._open.values() if session.writer is not None]
            if len(held) < MAX_OPEN:
                return
            idle = [session for session in held if not session.users]
            if not idle:
                raise ResourceExhausted(f"{len(held)} uploads are at work, the limit here")
            self._shut(min(idle, key=lambda session: session.used))

    def _close_idle(self, *, now: float | None = None) -> None:
        moment = self._now() if now is None else now
        with self._guard:
            if now is None and moment - self._looked < _ROUND:
                return
            self._looked = moment
            for session in list(self._open.values()):
                if not session.users and moment - session.used >= IDLE:
                    self._shut(session)

    def _shut(self, session: Session) -> None:
        """Nobody holds it, and nobody can get it meanwhile."""
        if session.writer is not None:
            session.writer.close()
            session.writer = None
        self._open.pop(session.ref, None)


def _unknown_digest(algorithm: str | None) -> Digest | None:
    """A digest that says how to hash, and that no blob has: the store keeps it for whoever goes on."""
    if algorithm in (None, DEFAULT_ALGORITHM):
        return None
    return Digest(f"{algorithm}:{'0' * HEX_LENGTHS[algorithm]}")
