"""Blobs: GET and HEAD of one, whole or in part; DELETE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.errors import InvalidArgument, NotFound, OutOfRange
from distore.oci.digest import Digest
from distore.oci.mediatypes import OCTET_STREAM
from distore.registry import errors
from distore.registry.message import Response, Slice
from distore.registry.ranges import span_of

if TYPE_CHECKING:
    from distore.content.store import Provider, Reader
    from distore.registry.message import Request
    from distore.repositories import Repositories


class Offered:
    """Only what a repository offers of ``content``; whoever is told that it does may rely on it."""

    def __init__(self, content: Provider, repositories: Repositories, repository: str) -> None:
        self._content = content
        self._repositories = repositories
        self._repository = repository

    def reader(self, digest: Digest, /) -> Reader:
        if not self._repositories.use(self._repository, digest):
            raise NotFound(f"content {digest}: not in repository {self._repository}")
        return self._content.reader(digest)


def get_blob(content: Provider, request: Request, text: str) -> Response:
    """Answer for the blob that ``text`` names."""
    try:
        digest = Digest(text)
    except InvalidArgument as error:
        return errors.refusal(400, errors.DIGEST_INVALID, str(error))
    try:
        reader = content.reader(digest)
    except NotFound:
        return errors.refusal(404, errors.BLOB_UNKNOWN, f"blob {digest} is unknown")
    return served(reader, request, digest, media_type=OCTET_STREAM)


def delete_blob(repositories: Repositories, repository: str, text: str) -> Response:
    """Let ``repository`` offer it no more; the store keeps the bytes, for others may have them, too."""
    try:
        digest = Digest(text)
    except InvalidArgument as error:
        return errors.refusal(400, errors.DIGEST_INVALID, str(error))
    if not repositories.delete_blob(repository, digest):
        return errors.refusal(404, errors.BLOB_UNKNOWN, f"blob {digest} is unknown")
    return Response(status=202)


def served(reader: Reader, request: Request, digest: Digest, *, media_type: str) -> Response:
    """The bytes of ``reader`` under their digest; closes it unless they are to be sent."""
    etag = f'"{digest}"'
    headers = {
        "content-type": media_type,
        "docker-content-digest": digest,
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": "max-age=31536000, immutable",
        # What strangers pushed is never a page of this server, with the login of who looks at it.
        "content-security-policy": "sandbox",
        "x-content-type-options": "nosniff",
    }
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or known == ["*"]:
        reader.close()
        return Response(status=304, headers=headers)
    try:
        span = span_of(request, size=reader.size, etag=etag)
    except OutOfRange as error:
        reader.close()
        return errors.refusal(
            416, errors.UNSUPPORTED, str(error), content_range=f"bytes */{reader.size}", etag=etag
        )
    if span.partial:
        headers["content-range"] = f"bytes {span.start}-{span.start + span.length - 1}/{reader.size}"
    body = Slice(reader=reader, start=span.start, length=span.length)
    return Response(status=206 if span.partial else 200, headers=headers, body=body)
