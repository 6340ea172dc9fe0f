"""Resolving: a tag or digest to a descriptor, by HEAD where that tells enough, else by GET."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from distore.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE, parse_manifest
from distore.remotes.http.client import PULL
from distore.remotes.http.errors import error_from, one_line
from distore.remotes.mismatch import wrong_digest

if TYPE_CHECKING:
    from distore.oci.reference import Reference
    from distore.remotes.http.body import Response
    from distore.remotes.http.client import Client
    from distore.remotes.http.hosts import Host

# Sent with every question for a manifest whose type is not known.
MANIFEST_ACCEPT: Final = ", ".join((*mediatypes.INDEXES, *mediatypes.MANIFESTS, "*/*;q=0.1"))
# What some servers answer to a HEAD that they do not do.
_TRY_GET: Final = frozenset((400, 403, 405, 406, 501))


def resolve(client: Client, reference: Reference) -> Descriptor:
    """See ``Resolver.resolve``."""
    if reference.object is None:
        raise InvalidArgument(f"reference {reference}: want a tag or a digest")
    found = client.ask("resolve", str(reference), lambda host: _resolve(client, host, reference))
    if mediatypes.is_schema1(found.media_type):
        raise FailedPrecondition(
            f"{reference}: an image of Docker's schema 1, which no current tool makes; pull and push it"
            " with a newer docker to convert it"
        )
    return found


def _resolve(client: Client, host: Host, reference: Reference) -> Descriptor:
    response = _ask(client, host, "HEAD", reference)
    if response.status == 200:
        response.discard()
        described = _described(response, reference)
        if described is not None:
            return described
    elif response.status not in _TRY_GET:
        raise error_from(response, str(reference))
    else:
        response.discard()
    return _read(_ask(client, host, "GET", reference), reference)


def _ask(client: Client, host: Host, method: str, reference: Reference) -> Response:
    return client.request(
        host,
        method,
        f"manifests/{quote(reference.object or '', safe=':')}",
        headers={"Accept": MANIFEST_ACCEPT},
        scope=client.scope(PULL),
    )


def _described(response: Response, reference: Reference) -> Descriptor | None:
    """What the headers tell; None when that is not everything."""
    media_type = _media_type(response)
    digest = _told(response, reference) or reference.digest
    size = response.length
    if not (_is_known(media_type) or mediatypes.is_schema1(media_type)) or size is None or digest is None:
        return None
    if reference.digest is not None and digest != reference.digest:
        if digest.algorithm == reference.digest.algorithm:
            raise wrong_digest(str(reference), expected=reference.digest, actual=digest)
        digest = reference.digest
    _check_size(size, reference)
    return Descriptor(media_type=media_type, digest=digest, size=size)


def _read(response: Response, reference: Reference) -> Descriptor:
    if response.status != 200:
        raise error_from(response, str(reference))
    try:
        data = response.read_small(MAX_MANIFEST_SIZE + 1)
    finally:
        response.close()
    _check_size(len(data), reference)
    expected = reference.digest or _told(response, reference)
    actual = Digest.of(data, algorithm=expected.algorithm if expected else "sha256")
    if expected is not None and actual != expected:
        raise wrong_digest(str(reference), expected=expected, actual=actual)
    media_type = _media_type(response)
    known = media_type if _is_known(media_type) else None
    parsed = parse_manifest(data, media_type=known, subject=str(reference))
    return Descriptor(media_type=parsed.media_type, digest=actual, size=len(data))


def _told(response: Response, reference: Reference) -> Digest | None:
    """What Docker-Content-Digest says."""
    text = (response.header("docker-content-digest") or "").strip()
    try:
        return Digest(text) if text else None
    except InvalidArgument as error:
        raise FailedPrecondition(f"{reference}: docker-content-digest: {error}") from error


def _is_known(media_type: str) -> bool:
    """Other types say nothing: a web server calls a manifest octet-stream, or JSON."""
    return mediatypes.is_manifest(media_type) or mediatypes.is_index(media_type)


def _media_type(response: Response) -> str:
    return one_line((response.header("content-type") or "").partition(";")[0].strip())


def _check_size(size: int, reference: Reference) -> None:
    if size > MAX_MANIFEST_SIZE:
        raise ResourceExhausted(f"{reference}: a manifest of {size} bytes, the limit is {MAX_MANIFEST_SIZE}")
