"""ManifestPush: PUT and DELETE of manifests (OCI distribution-spec, "Pushing Manifests")."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from distore.content.blobs import write_blob
from distore.content.store import Ingester, Provider
from distore.errors import InvalidArgument, NotFound
from distore.oci.digest import DEFAULT_ALGORITHM, Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.registry import errors, manifests
from distore.registry.message import Response, small_body
from distore.registry.names import is_tag
from distore.registry.pushed import Pushed, parse
from distore.registry.sessions import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.features import Features
    from distore.registry.message import Request
    from distore.repositories import Repositories

MAX_TAGS: Final = 50  # of one push: together they fit into one header line
_MAX_NAMED: Final = 20  # missing blobs that a refusal names


class Blobs(Provider, Ingester, Protocol):
    """Gives out blobs and takes them in."""


class ManifestPush:
    """Takes manifests into a store and its repositories; safe to use from any thread."""

    def __init__(
        self, store: Blobs, repositories: Repositories, *, features: Features, new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._features = features
        self._new_id = new_id

    def put(self, request: Request, repository: str, name: str) -> Response:
        """Take the manifest in the body under ``name``, a tag or a digest with tags in the query."""
        try:
            wanted = Digest(name) if ":" in name else None
        except InvalidArgument as error:
            return errors.refusal(400, errors.DIGEST_INVALID, str(error))
        tags = tuple(dict.fromkeys(request.values("tag"))) if wanted else (name,)
        for tag in tags:
            if not is_tag(tag):
                return errors.refusal(400, errors.MANIFEST_INVALID, f"tag {tag[:140]!a} is not one")
        if len(tags) > MAX_TAGS:
            return errors.refusal(414, errors.UNSUPPORTED, f"{len(tags)} tags, at most {MAX_TAGS} at once")
        data = small_body(request, limit=MAX_MANIFEST_SIZE)
        if data is None:
            return errors.refusal(
                413, errors.SIZE_INVALID, f"manifest {name}: over {MAX_MANIFEST_SIZE} bytes, the limit here"
            )
        digest = Digest.of(data, algorithm=wanted.algorithm if wanted else DEFAULT_ALGORITHM)
        if wanted not in (None, digest):
            return errors.refusal(400, errors.DIGEST_INVALID, f"manifest {wanted}: the bytes are {digest}")
        try:
            pushed = parse(data, _media_type(request))
        except InvalidArgument as error:
            return errors.refusal(400, errors.MANIFEST_INVALID, str(error))
        taken = self._take(data, digest, pushed, repository=repository, tags=tags)
        if wanted is not None and tags and taken.status == 201:
            return replace(taken, headers={**taken.headers, "oci-tag": ", ".join(tags)})
        return taken

    def delete(self, repository: str, name: str) -> Response:
        """Remove a tag; or, by digest, a manifest with every tag that names it."""
        if ":" not in name:
            gone = self._repositories.untag(repository, name)
        else:
            try:
                digest = Digest(name)
            except InvalidArgument as error:
                return errors.refusal(400, errors.DIGEST_INVALID, str(error))
            gone = self._repositories.delete_manifest(repository, digest)
        return Response(status=202) if gone else manifests.unknown(name)

    def _take(
        self,
        data: bytes,
        digest: Digest,
        pushed: Pushed,
        *,
        repository: str,
        tags: tuple[str, ...],
    ) -> Response:
        needed = {blob.digest for blob in pushed.needed}
        missing = [blob for blob in needed if not self._is_there(repository, blob)]
        if not missing:
            with self._repositories.keeping(digest):
                ref = f"{PREFIX}{repository}/manifest-{self._new_id()}"
                write_blob(self._store, ref, data, size=len(data), expected=digest)
                # Asked again, as this and the manifest are one change: a blob may have gone meanwhile.
                missing = self._repositories.put_manifest(
                    repository, pushed.record(digest, len(data)), tags=tags, needed=needed
                )
        if missing:
            named = ", ".join(sorted(missing)[:_MAX_NAMED])
            return errors.refusal(
                404, errors.MANIFEST_BLOB_UNKNOWN, f"manifest {digest}: push its blobs first: {named}"
            )
        headers = {"location": f"/v2/{repository}/manifests/{digest}", "docker-content-digest": str(digest)}
        if pushed.subject is not None and self._features.referrers:
            headers["oci-subject"] = str(pushed.subject.digest)
        if not pushed.is_typed:
            headers["warning"] = '299 - "this manifest should say its mediaType"'
        return Response(status=201, headers=headers)

    def _is_there(self, repository: str, digest: Digest) -> bool:
        """Whether it is offered and its bytes are not lost: who pushes them again mends that."""
        if not self._repositories.has(repository, digest):
            return False
        try:
            self._store.reader(digest).close()
        except NotFound:
            return False
        return True


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
