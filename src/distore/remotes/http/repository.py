"""HttpRepository: a Repository of a registry that speaks the OCI distribution protocol."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from distore._internal.retry import Retrier
from distore.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.manifest import Index, parse_manifest
from distore.remotes.fetch import fetch_document
from distore.remotes.http.client import DELETE, PULL
from distore.remotes.http.errors import error_from
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.http.listing import PAGE, Listing, pages, texts
from distore.remotes.resolver import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.oci.digest import Digest
    from distore.oci.reference import Reference
    from distore.remotes.http.client import Client


MAX_REFERRERS_SIZE: Final = 64 * 1024 * 1024  # bytes of what refers to one manifest; callers keep it


class HttpRepository:
    """One repository; made by HttpResolver.

    Args:
        new_retrier: Makes the Retrier of one request.
    """

    def __init__(self, client: Client, *, new_retrier: Callable[[], Retrier] = Retrier) -> None:
        self._client = client
        self._new_retrier = new_retrier

    def tags(self) -> Iterator[str]:
        client = self._client
        subject = f"tags of {client.repository.name}"
        listing = Listing(
            path=f"{client.repository.path}/tags/list",
            scope=client.scope(PULL),
            subject=subject,
            query={"n": str(PAGE)},
        )
        for page in pages(client, listing, new_retrier=self._new_retrier):
            yield from texts(page, "tags", subject=subject)

    def referrers(self, digest: Digest, *, artifact_type: str | None = None) -> Iterator[Descriptor]:
        """What refers to a manifest: by the API, or by the fallback tag where there is none.

        The artifact type is compared here too: registries may pass over the filter, and some
        indexes of fallback tags have it wrong.
        """
        for descriptor in self._referrers(digest, artifact_type):
            if artifact_type is None or descriptor.artifact_type == artifact_type:
                yield descriptor

    def delete(self, target: Target) -> None:
        client = self._client
        subject = f"{client.repository.name}{':' if target.tag else '@'}{target.name}"
        kinds = _kinds(target)
        host = client.ask("push", subject, lambda host: host)
        for kind in kinds:
            response = client.request(
                host,
                "DELETE",
                f"{kind}/{quote(target.name, safe=':')}",
                headers={},
                scope=client.scope(DELETE),
            )
            if response.status in (200, 202, 204):
                response.discard()
                return
            if response.status != 404 or kind == kinds[-1]:
                raise error_from(response, subject)
            response.discard()

    def _referrers(self, digest: Digest, artifact_type: str | None) -> Iterator[Descriptor]:
        client = self._client
        subject = f"referrers of {client.repository.name}@{digest}"
        listing = Listing(
            path=f"{client.repository.path}/referrers/{digest}",
            scope=client.scope(PULL),
            subject=subject,
            query={"artifactType": artifact_type} if artifact_type else {},
            accept=mediatypes.OCI_INDEX,
            max_size=MAX_REFERRERS_SIZE,
        )
        found = pages(client, listing, new_retrier=self._new_retrier)
        try:
            first = next(found)
        except (NotFound, InvalidArgument, Unimplemented):  # no such API
            yield from self._by_tag(digest)
            return
        for page in chain((first,), found):
            yield from _manifests(page, subject)

    def _by_tag(self, digest: Digest) -> Iterator[Descriptor]:
        target = Target(tag=fallback_tag(digest), media_type=mediatypes.OCI_INDEX)
        try:
            document = fetch_document(HttpFetcher(self._client), target)
        except NotFound:
            return
        parsed = parse_manifest(document.data, media_type=None, subject=target.name)
        if isinstance(parsed, Index):
            yield from parsed.manifests


def _kinds(target: Target) -> tuple[str, ...]:
    """Where to look for what is to go: with a media type in one place only."""
    media_type = target.media_type
    if target.tag or (media_type and (mediatypes.is_manifest(media_type) or mediatypes.is_index(media_type))):
        return ("manifests",)
    return ("blobs",) if media_type else ("manifests", "blobs")


def catalog(client: Client, registry: str) -> Iterator[str]:
    """Every repository of a registry that lists them.

    Raises:
        NotFound, Unauthenticated, PermissionDenied: It does not.
    """
    subject = f"catalog of {registry}"
    listing = Listing(path="_catalog", scope="registry:catalog:*", subject=subject, query={"n": str(PAGE)})
    for page in pages(client, listing):
        yield from texts(page, "repositories", subject=subject)


def fallback_tag(digest: Digest) -> str:
    """The tag that stands for the referrers of a digest (distribution-spec, "Referrers Tag Schema")."""
    return f"{digest.algorithm[:32]}-{digest.encoded[:64]}"


def described(reference: Reference, descriptor: Descriptor) -> str:
    """What messages call an object of a repository."""
    return f"{reference.name}@{descriptor.digest}"


def _manifests(page: dict[str, object], subject: str) -> list[Descriptor]:
    try:
        parsed = parse_manifest(json.dumps(page).encode(), media_type=mediatypes.OCI_INDEX, subject=subject)
    except InvalidArgument as error:
        raise FailedPrecondition(f"{subject}: the answer is no index: {error}") from error
    return list(parsed.manifests) if isinstance(parsed, Index) else []
