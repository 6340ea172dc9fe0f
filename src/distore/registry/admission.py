"""Admission: pushes are refused early when a quota is used up or the disk is full; pulls go on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError, InvalidArgument, NotFound
from distore.oci.digest import Digest
from distore.registry import errors
from distore.registry.grants import PULL
from distore.registry.message import BytesBody
from distore.registry.routes import target_of

if TYPE_CHECKING:
    from distore.content.store import Manager
    from distore.registry.message import Body, Request, Response, Service
    from distore.registry.room import Room
    from distore.registry.routes import Target
    from distore.repositories import Repositories

_LOOK: Final = 32 * 1024 * 1024  # bytes taken between two looks at the room that is left
_WRITES: Final = frozenset(
    {("POST", "uploads"), ("PATCH", "upload"), ("PUT", "upload"), ("PUT", "manifests")}
)
_REFUSED: Final = 400  # the first status of answers that say no
_ENDS: Final = (201, 204, 400, 404)  # answers after which an upload is there no more
_OVER_QUOTA: Final = 403
_MAX_LENGTH: Final = 1 << 62


class Admission:
    """A Service in front of one that takes pushes.

    Args:
        content: Knows how large what is mounted is.
    """

    def __init__(self, inner: Service, room: Room, *, content: Manager, repositories: Repositories) -> None:
        self._inner = inner
        self._room = room
        self._content = content
        self._repositories = repositories

    def handle(self, request: Request, /) -> Response:
        """Answer, unless it brings what there is no room for."""
        if request.method not in ("POST", "PATCH", "PUT", "DELETE"):
            return self._inner.handle(request)
        target = target_of(request.path)
        response = self._admit(request, target)
        if target.kind == "upload" and response.status == _OVER_QUOTA:
            self._give_up(request, target)
        if target.kind == "upload" and request.method != "PATCH" and response.status in _ENDS:
            self._room.let_go(target.repository, target.last, kept=response.status == 201)
        return response

    def _give_up(self, request: Request, target: Target) -> None:
        """Drop an upload that a quota refused: its client does not, and what came would count for a day.

        One that found the disk full stays: there may be room for the rest later.
        """
        dropped = self._inner.handle(replace(request, method="DELETE", body=BytesBody()))
        if dropped.status in _ENDS:
            self._room.let_go(target.repository, target.last, kept=False)

    def _admit(self, request: Request, target: Target) -> Response:
        if (request.method, target.kind) not in _WRITES:
            return self._inner.handle(request)
        length = _length(request)
        if (request.method, target.kind, length) == ("PUT", "upload", 0):
            return self._inner.handle(request)  # every byte of it was let in before
        try:
            left = self._room.check(target.repository, length or 0)
            if "mount" in request.query and target.kind == "uploads":
                self._check_mount(request, target.repository)
        except DistoreError as error:
            return errors.response_for(error)
        metered = _Metered(request.body, self._room, target.repository, left=left)
        kept = False
        try:
            response = self._inner.handle(replace(request, body=metered))
            kept = response.status < _REFUSED
            return response
        finally:
            unfinished = request.method == "PATCH"  # whatever came of it counts until the upload ends
            self._room.end(target.repository, metered.taken, kept=kept and not unfinished)
            if unfinished and metered.taken:
                self._room.keep(target.repository, target.last, metered.taken)

    def quick(self, request: Request, /) -> Response | None:
        """What needs no look at the room."""
        return self._inner.quick(request) if request.method in ("GET", "HEAD") else None

    def _check_mount(self, request: Request, repository: str) -> None:
        """Of a blob that the client may mount. Any other becomes an upload, which is looked at as it comes:
        a refusal would tell that there is such a blob, and how large it is."""
        try:
            digest = Digest(request.query["mount"])
            size = self._content.info(digest).size
        except (InvalidArgument, NotFound):
            return
        owners, source = self._repositories.owners(digest), request.query.get("from")
        given = [name for name in owners if source in (None, name)]
        if not any(request.grants.may(PULL, name) for name in given):
            return
        if not self._repositories.has(repository, digest):
            self._room.check_mount(repository, size, owners)
            self._room.add(repository, size)  # until somebody adds it up


class _Metered:
    """A Body that ends with an error when there is no more room for it."""

    def __init__(self, body: Body, room: Room, repository: str, *, left: int) -> None:
        self._body = body
        self._room = room
        self._repository = repository
        self._left = min(left, _LOOK)
        self.taken = 0  # bytes

    def read(self, limit: int, /) -> bytes:
        data = self._body.read(limit)
        self._left -= len(data)
        self.taken += len(data)
        self._room.note(self._repository, len(data))
        if self._left < 0:
            self._left = min(self._room.check(self._repository), _LOOK)
        return data


def _length(request: Request) -> int | None:
    """Bytes that are announced; None: nobody says."""
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdecimal() and len(told) < len(str(_MAX_LENGTH)):
        return int(told)
    return None if "transfer-encoding" in request.headers or told else 0
