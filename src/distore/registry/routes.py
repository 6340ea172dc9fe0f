"""Routes: method and path to the handler that answers (OCI distribution-spec, "Endpoints")."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distore.content.store import Ingester, IngestManager, Provider
from distore.errors import DistoreError
from distore.oci.digest import Digest
from distore.registry import errors
from distore.registry.blobs import Offered, delete_blob, get_blob
from distore.registry.features import Features
from distore.registry.manifestpush import ManifestPush
from distore.registry.manifests import get_manifest
from distore.registry.message import ELSEWHERE, OWNER, Response
from distore.registry.names import is_repository
from distore.registry.pulls import Pulls
from distore.registry.recent import Recent
from distore.registry.referrers import list_referrers
from distore.registry.sessions import ABANDONED, Elsewhere, Sessions
from distore.registry.tags import CATALOG_PATH, list_repositories, list_tags
from distore.registry.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.registry.message import Request
    from distore.registry.pulls import Got
    from distore.repositories import Repositories

_VERSION: Final = "docker-distribution-api-version"  # what Docker's clients look for
_ROOT: Final = "/v2"
_READS: Final = ("GET", "HEAD")
_METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "blobs": (*_READS, "DELETE"),
    "manifests": (*_READS, "PUT", "DELETE"),
    "tags": _READS,
    "referrers": _READS,
    "uploads": ("POST",),
    "upload": (*_READS, "PATCH", "PUT", "DELETE"),
}


class PushStore(Provider, Ingester, IngestManager, Protocol):
    """What a registry that takes pushes needs of a store."""


class Target(NamedTuple):
    """``/v2/REPOSITORY/KIND/LAST``; the kinds are those of ``_METHODS``, or anything else."""

    repository: str
    kind: str
    last: str


class PushRegistry:
    """A Service: a registry that is read and written; each repository offers what was put there.

    Safe to use from any thread. ``close`` lets go of what it holds open, when no more requests come;
    uploads that are not finished go on after a restart.

    Args:
        store: Keeps the blobs of all repositories; nothing is ever deleted from it here.
        repositories: Say which repository has what.
        features: What of the specification it knows.
        new_id: A new name at every call, which nobody can guess.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        store: PushStore,
        repositories: Repositories,
        *,
        features: Features | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._features = features or Features()
        self._recent = Recent(repositories.version, now)
        self._pulls = Pulls(repositories, now)
        self._sessions = Sessions(store, new_id=new_id, now=now)
        self._uploads = Uploads(store, repositories, self._sessions, features=self._features)
        self._manifests = ManifestPush(store, repositories, features=self._features, new_id=new_id)

    def handle(self, request: Request, /) -> Response:
        """Answer one request; never raises a DistoreError."""
        try:
            response = self._remembered(request, target_of(request.path))
        except Elsewhere as error:
            return Response(status=ELSEWHERE, headers={OWNER: str(error.pid)})
        except DistoreError as error:
            response = errors.response_for(error)
        return response if _VERSION in response.headers else _signed(response)

    def quick(self, request: Request, /) -> Response | None:
        """The answer, if it is at hand: to what was asked a moment ago."""
        kept = self._recent.get(request)
        if kept is None:
            return None
        if kept.got is not None:
            self._pulls.note(kept.got)
        return kept.response

    def write_pulls(self) -> None:
        """Have everybody know who pulled what."""
        self._pulls.flush()

    def expire(self, now: float, idle: float = ABANDONED) -> int:
        """Write pulls down, and drop uploads without a byte for ``idle`` seconds; how many those were."""
        self.write_pulls()
        return self._sessions.expire(now, idle=idle)

    def close(self) -> None:
        """Let go of everything."""
        self._pulls.flush()
        self._sessions.close()

    def drop_uploads(self) -> None:
        """Give up the uploads that are not finished."""
        self._sessions.drop()

    def _remembered(self, request: Request, target: Target) -> Response:
        """Answer, and have what is asked often at hand for the next one."""
        lasting = target.kind in ("manifests", "tags") or request.path.rstrip("/") == _ROOT
        head = target.kind == "blobs" and request.method == "HEAD"
        if request.method not in _READS or not (lasting or head):
            return self._answer(request, target)
        version = self._repositories.version()  # before the look-up: a change meanwhile ends the answer
        response = _signed(self._answer(request, target))
        if head:
            return self._recent.keep_head(request, response, version=version)
        got = _got(target, response)
        if got is not None:
            self._pulls.note(got)
            self._pulls.flush(force=False)
        return self._recent.keep(request, response, version=version, got=got)

    def _answer(self, request: Request, target: Target) -> Response:
        allowed = _METHODS.get(target.kind, _READS)
        if request.method not in allowed:
            return errors.refusal(405, errors.UNSUPPORTED, "no such method here", allow=", ".join(allowed))
        if not target.repository:
            return self._root(request)
        if not is_repository(target.repository):
            reading = request.method in _READS
            name, status = target.repository[:80], 404 if reading else 400
            code = errors.NAME_UNKNOWN if reading else errors.NAME_INVALID
            return errors.refusal(status, code, f"repository {name!a} is not one")
        if target.kind == "referrers":
            return self._referrers(request, target)
        if target.kind.startswith("upload"):
            return self._upload(request, target)
        return self._read(request, target) if request.method in _READS else self._write(request, target)

    def _root(self, request: Request) -> Response:
        """Answer for what belongs to no repository."""
        path = request.path.rstrip("/")
        if path == _ROOT:
            return Response(status=200, headers={"content-type": "application/json"}, body=b"{}")
        if path != CATALOG_PATH:
            return _no_endpoint()
        return list_repositories(
            request, lambda after, limit: self._repositories.names(after=after, limit=limit)
        )

    def _read(self, request: Request, target: Target) -> Response:
        repository, kind, last = target
        if kind not in ("blobs", "manifests") and (kind, last) != ("tags", "list"):
            return _no_endpoint()
        if not self._repositories.exists(repository):
            return errors.refusal(404, errors.NAME_UNKNOWN, f"repository {repository} is unknown")
        if kind == "tags":
            return list_tags(request, self._repositories, repository=repository)
        content = Offered(self._store, self._repositories, repository)
        if kind == "blobs":
            return get_blob(content, request, last)
        return get_manifest(
            content,
            request,
            repositories=self._repositories,
            repository=repository,
            name=last,
            guess=self._features.guess,
        )

    def _upload(self, request: Request, target: Target) -> Response:
        repository, session = target.repository, target.last
        if request.method == "POST":
            return self._uploads.start(request, repository)
        if request.method == "PATCH":
            return self._uploads.patch(request, repository, session)
        if request.method == "PUT":
            return self._uploads.finish(request, repository, session)
        if request.method == "DELETE":
            return self._uploads.cancel(repository, session)
        return self._uploads.status(repository, session)

    def _write(self, request: Request, target: Target) -> Response:
        if target.kind == "blobs":
            return delete_blob(self._repositories, target.repository, target.last)
        if request.method == "PUT":
            return self._manifests.put(request, target.repository, target.last)
        return self._manifests.delete(target.repository, target.last)

    def _referrers(self, request: Request, target: Target) -> Response:
        if not self._features.referrers:
            return _no_endpoint()
        return list_referrers(
            request,
            repositories=self._repositories,
            repository=target.repository,
            subject=target.last,
            most=self._features.page,
        )


def target_of(path: str) -> Target:
    """What a path is about; a repository's name may have slashes. Another API has no kind."""
    prefix, _, rest = path.strip("/").partition("/")
    name, _, last = rest.rpartition("/")
    name, _, kind = name.rpartition("/")
    if prefix != "v2":
        return Target("", "", "")
    if (kind, last) == ("blobs", "uploads"):
        return Target(name, "uploads", "")
    if kind == "uploads" and name.endswith("/blobs"):
        return Target(name.removesuffix("/blobs"), "upload", last)
    return Target(name, "" if kind in ("upload", "uploads") else kind, last)


def _got(target: Target, response: Response) -> Got | None:
    """Who gets a manifest, or looks what a tag names (clients then ask by digest), pulls it."""
    if target.kind != "manifests" or response.status not in (200, 304):
        return None
    digest = Digest(response.headers["docker-content-digest"])
    return target.repository, digest, None if ":" in target.last else target.last


def _signed(response: Response) -> Response:
    return replace(response, headers={**response.headers, _VERSION: "registry/2.0"})


def _no_endpoint() -> Response:
    return errors.refusal(404, errors.UNSUPPORTED, "no such endpoint")
