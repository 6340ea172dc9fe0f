"""ManifestPush: PUT and DELETE of manifests (OCI distribution-spec, "Pushing Manifests")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.content.blobs import write_blob
from distore.errors import InvalidArgument
from distore.oci.digest import DEFAULT_ALGORITHM, Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.registry import errors, manifests
from distore.registry.message import Response, small_body
from distore.registry.names import is_tag
from distore.registry.pushed import Pushed, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import Ingester
    from distore.registry.features import Features
    from distore.registry.message import Request
    from distore.repositories import Repositories

_MAX_NAMED: Final = 20  # missing blobs that a refusal names


class ManifestPush:
    """Takes manifests into a store and its repositories; safe to use from any thread."""

    def __init__(
        self, store: Ingester, repositories: Repositories, *, features: Features, new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._features = features
        self._new_id = new_id

    def put(self, request: Request, repository: str, name: str) -> Response:
        """Take the manifest in the body under ``name``, a tag or a digest."""
        try:
            wanted = Digest(name) if ":" in name else None
        except InvalidArgument as error:
            return errors.refusal(400, errors.DIGEST_INVALID, str(error))
        if wanted is None and not is_tag(name):
            return errors.refusal(400, errors.TAG_INVALID, f"tag {name[:140]!a} is not one")
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
        return self._take(data, digest, pushed, repository=repository, tag=None if wanted else name)

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
        self, data: bytes, digest: Digest, pushed: Pushed, *, repository: str, tag: str | None
    ) -> Response:
        needed = {blob.digest for blob in pushed.needed}
        missing = [blob for blob in needed if not self._repositories.has(repository, blob)]
        if not missing:
            with self._repositories.keeping(digest):
                ref = f"registry/{repository}/manifest-{self._new_id()}"
                write_blob(self._store, ref, data, size=len(data), expected=digest)
                # Asked again, as this and the manifest are one change: a blob may have gone meanwhile.
                missing = self._repositories.put_manifest(
                    repository,
                    pushed.record(digest, len(data)),
                    tags=() if tag is None else (tag,),
                    needed=needed,
                )
        if missing:
            named = ", ".join(sorted(missing)[:_MAX_NAMED])
            return errors.refusal(
                404, errors.MANIFEST_BLOB_UNKNOWN, f"manifest {tag or digest}: push its blobs first: {named}"
            )
        headers = {"location": f"/v2/{repository}/manifests/{digest}", "docker-content-digest": str(digest)}
        if pushed.subject is not None and self._features.referrers:
            headers["oci-subject"] = str(pushed.subject.digest)
        return Response(status=201, headers=headers)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
