"""Shelf: the images of the store beside the repositories of a registry, to read."""

from __future__ import annotations

import json
from dataclasses import replace
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Final

from distore.errors import DistoreError, InvalidArgument, NotFound
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.mediatypes import OCTET_STREAM
from distore.registry import errors
from distore.registry.blobs import served
from distore.registry.grants import PULL, PUSH
from distore.registry.message import Response
from distore.registry.names import is_repository
from distore.registry.paging import page_of
from distore.registry.routes import target_of
from distore.registry.tags import CATALOG_PATH, MAX_PAGE, list_repositories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from distore.content.store import Provider
    from distore.oci.descriptor import Descriptor
    from distore.registry.message import Request, Service
    from distore.registry.routes import Target
    from distore.registry.shelfimages import ShelfImages
    from distore.repositories import Repositories

_READS: Final = ("GET", "HEAD")
MAX_REFERRERS: Final = 1000  # in one answer
_TYPE: Final = "artifactType"


class Shelf:
    """What ``inner`` does not have is looked for among the images of the store.

    A repository that both have offers what either has; of a tag that both have, that of ``inner`` counts.
    Nothing is ever written to an image. Whoever may push is told that a blob of an image is there, so the
    repository offers it from then on, as if it had been mounted.

    Args:
        content: Has the blobs of both.
        takes: Whether a repository takes pushes, of anybody.
    """

    def __init__(
        self,
        inner: Service,
        images: ShelfImages,
        content: Provider,
        repositories: Repositories,
        *,
        takes: Callable[[str], bool] = lambda _repository: True,
    ) -> None:
        self._inner = inner
        self._images = images
        self._content = content
        self._repositories = repositories
        self._takes = takes

    def quick(self, request: Request, /) -> Response | None:
        answer = self._inner.quick(request)
        return None if answer is not None and answer.status == 404 else answer

    def handle(self, request: Request, /) -> Response:
        try:
            return self._answer(request)
        except DistoreError as error:
            return errors.response_for(error)

    def _answer(self, request: Request) -> Response:
        target = target_of(request.path)
        if request.method == "POST" and target.kind == "uploads":
            return self._inner.handle(self._mounted(request, target))
        if request.method not in _READS:
            return self._inner.handle(request)
        if request.path.rstrip("/") == CATALOG_PATH:
            return list_repositories(request, self._names)
        if target.kind in ("tags", "referrers") and self._images.exists(target.repository):
            if target.kind == "referrers":
                return self._referrers(request, target)
            return self._tags(request, target) if target.last == "list" else self._inner.handle(request)
        if target.kind == "blobs" and request.method == "HEAD" and self._may_push(request, target):
            self._adopt(target.repository, target.repository, target.last)
        answer = self._inner.handle(request)
        if answer.status != 404 or target.kind not in ("blobs", "manifests"):
            return answer
        found = self._blob(request, target) if target.kind == "blobs" else self._manifest(request, target)
        if found is None:
            return answer
        answer.close()
        return found

    def _manifest(self, request: Request, target: Target) -> Response | None:
        digest = _digest(target.last)
        if digest is not None:
            kind = self._images.media_type(target.repository, digest)
        elif image := self._images.tag(target.repository, target.last):
            digest, kind = image.target.digest, image.target.media_type
        if digest is None or kind is None or not _is_document(kind):
            return None
        answer = self._served(request, digest, media_type=kind)
        if answer is None:
            return None
        # What a tag names may change, whatever a digest names may not.
        kept = {name: value for name, value in answer.headers.items() if name != "cache-control"}
        return replace(answer, headers=kept)

    def _blob(self, request: Request, target: Target) -> Response | None:
        digest = _digest(target.last)
        if digest is None or self._images.media_type(target.repository, digest) is None:
            return None
        return self._served(request, digest, media_type=OCTET_STREAM)

    def _served(self, request: Request, digest: Digest, *, media_type: str) -> Response | None:
        try:
            reader = self._content.reader(digest)
        except NotFound:
            return None  # of a sparse image
        return served(reader, request, digest, media_type=media_type)

    def _may_push(self, request: Request, target: Target) -> bool:
        name = target.repository
        return self._images.exists(name) and self._takes(name) and request.grants.may(PUSH, name)

    def _mounted(self, request: Request, target: Target) -> Request:
        """The request as ``inner`` can answer it, when an image has the blob that it wants to mount."""
        source, text = request.query.get("from", ""), request.query.get("mount", "")
        if not text or not request.grants.may(PULL, source) or not self._images.exists(source):
            return request
        if not request.grants.may(PUSH, target.repository) or not is_repository(target.repository):
            return request
        if not self._adopt(source, target.repository, text):
            return request
        return replace(request, query={**request.query, "from": target.repository})

    def _adopt(self, source: str, repository: str, text: str) -> bool:
        """Let ``repository`` offer a blob that an image of ``source`` has; whether there is one.

        Without it a client that was told by HEAD that a blob is there could not push what names it.
        """
        digest = _digest(text)
        if digest is None:
            return False
        if self._repositories.has(repository, digest):
            return source == repository
        if self._images.media_type(source, digest) is None:
            return False
        with self._repositories.keeping(digest):
            try:
                with self._content.reader(digest) as reader:
                    size = reader.size
            except NotFound:
                return False
            self._repositories.add_blob(repository, digest, size)
        return True

    def _tags(self, request: Request, target: Target) -> Response:
        repository, shelf = target.repository, self._images.tags(target.repository)

        def listed(after: str, limit: int) -> list[str]:
            pushed = (tag.name for tag in self._repositories.tags(repository, after=after, limit=limit))
            return _first(limit, pushed, (name for name in shelf if name > after))

        page = page_of(request, listed, name=str, path=f"/v2/{repository}/tags/list", most=MAX_PAGE)
        return _json({"name": repository, "tags": page.items}, page.headers)

    def _names(self, after: str, limit: int) -> list[str]:
        pushed = self._repositories.names(after=after, limit=limit)
        return _first(limit, pushed, self._images.names(after=after, limit=limit))

    def _referrers(self, request: Request, target: Target) -> Response:
        repository, wanted = target.repository, request.query.get(_TYPE)
        subject = _digest(target.last)
        known = [] if subject is None else self._images.referrers(repository, subject)
        shelf = {each.digest: each for each in known if wanted in (None, each.artifact_type)}
        if subject is None or not shelf:
            return self._inner.handle(request)

        def listed(after: str, limit: int) -> list[Descriptor]:
            pushed = self._repositories.referrers(
                repository, subject, artifact_type=wanted, after=after, limit=limit
            )
            both = {**shelf, **{each.digest: each for each in pushed}}
            return [both[digest] for digest in sorted(both) if digest > after][:limit]

        path = f"/v2/{repository}/referrers/{subject}"
        page = page_of(
            request, listed, name=lambda each: each.digest, path=path, most=MAX_REFERRERS, keep=_TYPE
        )
        document = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [each.to_json() for each in page.items],
        }
        applied = {} if wanted is None else {"oci-filters-applied": _TYPE}
        return _json(document, {**page.headers, **applied, "content-type": mediatypes.OCI_INDEX})


def _is_document(media_type: str) -> bool:
    return mediatypes.is_manifest(media_type) or mediatypes.is_index(media_type)


def _first(count: int, *lists: Iterable[str]) -> list[str]:
    """Of sorted lists together, each name once."""
    found: list[str] = []
    for name in islice(merge(*lists), 2 * count):
        if not found or found[-1] != name:
            found.append(name)
    return found[:count]


def _digest(text: str) -> Digest | None:
    try:
        return Digest(text)
    except InvalidArgument:
        return None


def _json(document: object, headers: Mapping[str, str]) -> Response:
    return Response(
        status=200,
        headers={"content-type": "application/json", **headers},
        body=json.dumps(document).encode(),
    )
