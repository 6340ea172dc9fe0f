"""Manifests: GET and HEAD of one, by tag or digest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from distore.errors import InvalidArgument, NotFound
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.registry import errors
from distore.registry.blobs import served
from distore.registry.names import is_tag

if TYPE_CHECKING:
    from distore.content.store import Provider, Reader
    from distore.registry.message import Request, Response
    from distore.repositories import Repositories


def get_manifest(
    content: Provider,
    request: Request,
    *,
    repositories: Repositories,
    repository: str,
    name: str,
    guess: bool = False,
) -> Response:
    """Answer for the manifest that ``name``, a tag or a digest, stands for.

    Args:
        content: What the repository offers.
        guess: As Features.
    """
    if ":" not in name:
        tag = repositories.tag(repository, name) if is_tag(name) else None
        if tag is None:
            return unknown(name)
        return _answer(content, request, tag.descriptor.digest, tag.descriptor.media_type)
    try:
        digest = Digest(name)
    except InvalidArgument as error:
        return errors.refusal(400, errors.DIGEST_INVALID, str(error))
    record = repositories.manifest(repository, digest)
    if record is not None:
        return _answer(content, request, digest, record.descriptor.media_type)
    if not guess:
        return unknown(digest)
    told = {tag.descriptor.digest: tag.descriptor.media_type for tag in repositories.tags(repository)}
    return _answer(content, request, digest, told.get(digest))


def unknown(name: str) -> Response:
    """404 for a tag or digest."""
    return errors.refusal(404, errors.MANIFEST_UNKNOWN, f"manifest {name[:140]} is unknown")


def _answer(content: Provider, request: Request, digest: Digest, media_type: str | None) -> Response:
    try:
        reader = content.reader(digest)
    except NotFound:
        return unknown(digest)
    media_type = media_type or _type_of(reader)
    if media_type is None:
        reader.close()
        return unknown(digest)
    response = served(reader, request, digest, media_type=media_type)
    # What a tag names may change, whatever a digest names may not.
    kept = {name: value for name, value in response.headers.items() if name != "cache-control"}
    return replace(response, headers=kept)


def _type_of(reader: Reader) -> str | None:
    """The media type that a blob says it has as a manifest; None when it is none."""
    if reader.size > MAX_MANIFEST_SIZE:
        return None
    try:
        document = json.loads(reader.read_at(reader.size, 0))
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    told = document.get("mediaType")
    if isinstance(told, str) and (mediatypes.is_manifest(told) or mediatypes.is_index(told)):
        return told
    if "manifests" in document:
        return mediatypes.OCI_INDEX
    return mediatypes.OCI_MANIFEST if "layers" in document and "config" in document else None
