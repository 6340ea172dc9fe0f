"""Routes: method and path to the handler that answers (OCI distribution-spec, "Endpoints")."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from distore.content.store import Ingester, IngestManager, Provider
from distore.errors import DistoreError, InvalidArgument
from distore.oci.digest import Digest
from distore.registry import errors
from distore.registry.blobs import delete_blob, get_blob
from distore.registry.features import Features
from distore.registry.manifestpush import ManifestPush
from distore.registry.manifests import get_manifest
from distore.registry.message import Response
from distore.registry.names import is_repository
from distore.registry.referrers import list_referrers
from distore.registry.tags import CATALOG_PATH, list_repositories, list_tags
from distore.registry.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.oci.descriptor import Descriptor
    from distore.registry.catalog import Catalog
    from distore.registry.message import Request

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


class Registry:
    """The read side of a registry. ``handle`` is a Handler, safe to call from any thread.

    Args:
        content: Has the blobs; every repository offers all of them.
        repositories: Tags by repository; may change while serving.
    """

    def __init__(self, content: Provider, repositories: Mapping[str, Mapping[str, Descriptor]]) -> None:
        self._content = content
        self._repositories = repositories

    def handle(self, request: Request) -> Response:
        """Answer one request; never raises a DistoreError."""
        try:
            return self._answer(request)
        except DistoreError as error:
            return errors.response_for(error)

    def _answer(self, request: Request) -> Response:
        if request.method not in _READS:
            return errors.refusal(405, errors.UNSUPPORTED, "this registry is read-only", allow="GET, HEAD")
        return _root(request, self._repositories) or self._read(request, target_of(request.path))

    def _read(self, request: Request, target: Target) -> Response:
        if target.kind not in ("blobs", "manifests", "tags"):
            return _no_endpoint()
        tags = self._repositories.get(target.repository)
        if tags is None:
            name = target.repository[:255]
            return errors.refusal(404, errors.NAME_UNKNOWN, f"repository {name} is unknown")
        content = self._offered(target.repository)
        if target.kind == "blobs":
            return get_blob(content, request, target.last)
        if target.kind == "manifests":
            types = self._types(target)
            return get_manifest(content, request, tags=tags, name=target.last, types=types)
        if target.last != "list":
            return _no_endpoint()
        return list_tags(request, repository=target.repository, tags=list(tags))

    def _offered(self, repository: str) -> Provider:
        return self._content

    def _types(self, target: Target) -> Mapping[Digest, str]:
        """The media type of the manifest, if it is known."""
        return {}


class PushRegistry(Registry):
    """A registry that is read and written; each repository offers what was put there.

    ``close`` drops the uploads that are not finished, when no more requests come.

    Args:
        store: Keeps the blobs of all repositories; nothing is ever deleted from it here.
        catalog: Says which repository has what.
        features: What of the specification it knows.
        new_id: A new name at every call, which nobody can guess.
    """

    def __init__(
        self,
        store: PushStore,
        catalog: Catalog,
        *,
        features: Features | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        super().__init__(store, catalog.tags)
        self._catalog = catalog
        self._features = features or Features()
        self._uploads = Uploads(store, catalog, features=self._features, new_id=new_id)
        self._manifests = ManifestPush(store, catalog, features=self._features, new_id=new_id)

    def close(self) -> None:
        """Drop the uploads that are not finished."""
        self._uploads.close()

    def _answer(self, request: Request) -> Response:
        target = target_of(request.path)
        allowed = _METHODS.get(target.kind, _READS)
        if request.method not in allowed:
            return errors.refusal(405, errors.UNSUPPORTED, "no such method here", allow=", ".join(allowed))
        if target.kind == "referrers":
            return self._referrers(request, target)
        if request.method in _READS and target.kind != "upload":
            return _root(request, self._repositories) or self._read(request, target)
        if not is_repository(target.repository):
            name = target.repository[:80]
            return errors.refusal(400, errors.NAME_INVALID, f"repository {name!a} is not one")
        return (
            self._upload(request, target)
            if target.kind.startswith("upload")
            else self._write(request, target)
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
            return delete_blob(self._catalog, target.repository, target.last)
        if request.method == "PUT":
            return self._manifests.put(request, target.repository, target.last)
        return self._manifests.delete(target.repository, target.last)

    def _referrers(self, request: Request, target: Target) -> Response:
        if not self._features.referrers:
            return _no_endpoint()
        return list_referrers(
            request,
            catalog=self._catalog,
            repository=target.repository,
            subject=target.last,
            most=self._features.page,
        )

    def _offered(self, repository: str) -> Provider:
        return self._catalog.offered(repository, self._content)

    def _types(self, target: Target) -> Mapping[Digest, str]:
        try:
            digest = Digest(target.last)
        except InvalidArgument:
            return {}
        media_type = self._catalog.media_type(target.repository, digest)
        return {} if media_type is None else {digest: media_type}


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


def _root(request: Request, repositories: Mapping[str, object]) -> Response | None:
    """Answer for what belongs to no repository."""
    path = request.path.rstrip("/")
    if path == "/v2":
        return Response(status=200, headers={"content-type": "application/json"}, body=b"{}")
    return list_repositories(request, list(repositories)) if path == CATALOG_PATH else None


def _no_endpoint() -> Response:
    return errors.refusal(404, errors.UNSUPPORTED, "no such endpoint")
