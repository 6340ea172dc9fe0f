"""ManifestPush: PUT and DELETE of manifests (OCI distribution-spec, "Pushing Manifests")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.content.blobs import write_blob
from distore.errors import InvalidArgument
from distore.oci.descriptor import Descriptor
from distore.oci.digest import DEFAULT_ALGORITHM, Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.registry import errors, manifests
from distore.registry.message import Response, small_body
from distore.registry.names import is_tag
from distore.registry.pushed import Pushed, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import Ingester
    from distore.registry.catalog import Catalog
    from distore.registry.features import Features
    from distore.registry.message import Request

_MAX_NAMED: Final = 20  # missing blobs that a refusal names


class ManifestPush:
    """Takes manifests into a store and a catalog; safe to use from any thread."""

    def __init__(
        self, store: Ingester, catalog: Catalog, *, features: Features, new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._catalog = catalog
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
        missing = [blob.digest for blob in pushed.needed if not self._catalog.has(repository, blob.digest)]
        if missing:
            named = ", ".join(missing[:_MAX_NAMED])
            return errors.refusal(
                404, errors.MANIFEST_BLOB_UNKNOWN, f"manifest {name}: push its blobs first: {named}"
            )
        return self._take(data, digest, pushed, repository=repository, tag=None if wanted else name)

    def delete(self, repository: str, name: str) -> Response:
        """Remove a tag; or, by digest, a manifest with every tag that names it."""
        if ":" not in name:
            gone = self._catalog.untag(repository, name)
        else:
            try:
                digest = Digest(name)
            except InvalidArgument as error:
                return errors.refusal(400, errors.DIGEST_INVALID, str(error))
            gone = self._catalog.remove_manifest(repository, digest)
        return Response(status=202) if gone else manifests.unknown(name)

    def _take(
        self, data: bytes, digest: Digest, pushed: Pushed, *, repository: str, tag: str | None
    ) -> Response:
        write_blob(self._store, f"manifest-{self._new_id()}", data, size=len(data), expected=digest)
        self._catalog.add(repository, digest, media_type=pushed.media_type)
        headers = {"location": f"/v2/{repository}/manifests/{digest}", "docker-content-digest": str(digest)}
        if pushed.subject is not None:
            self._catalog.refer(repository, pushed.subject.digest, pushed.referrer(digest, len(data)))
            if self._features.referrers:
                headers["oci-subject"] = str(pushed.subject.digest)
        if tag is not None:
            described = Descriptor(media_type=pushed.media_type, digest=digest, size=len(data))
            self._catalog.tag(repository, tag, described)
        return Response(status=201, headers=headers)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
