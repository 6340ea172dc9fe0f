"""Children: what a manifest or an index names, as descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from distore.content.blobs import read_blob
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.manifest import MAX_MANIFEST_SIZE, Index, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.content.store import Provider
    from distore.oci.digest import Digest
    from distore.oci.manifest import Manifest

# What buildkit calls the manifest that tells about another one of the same index.
_REFERENCE_TYPE: Final = "vnd.docker.reference.type"
_REFERENCE_DIGEST: Final = "vnd.docker.reference.digest"


def has_children(descriptor: Descriptor) -> bool:
    """Whether the object is a document that names others."""
    kind = descriptor.media_type
    return mediatypes.is_manifest(kind) or mediatypes.is_index(kind)


@runtime_checkable
class Documents(Protocol):
    """A Provider that reads documents in a way of its own."""

    def document(self, descriptor: Descriptor, /) -> bytes:
        """The bytes of a manifest or index, verified."""
        ...


def read_document(provider: Provider, descriptor: Descriptor) -> bytes:
    """The bytes of a manifest or index out of any Provider, verified."""
    if isinstance(provider, Documents):
        return provider.document(descriptor)
    return read_blob(provider, descriptor.digest, max_size=MAX_MANIFEST_SIZE)


def read_manifest(provider: Provider, descriptor: Descriptor) -> Manifest | Index:
    """The document that a descriptor of ``has_children`` stands for, verified.

    Raises:
        NotFound: It is not there.
        InvalidArgument, FailedPrecondition, ResourceExhausted: As ``parse_manifest``.
        DataLoss: Its bytes are not those of the digest.
    """
    data = read_document(provider, descriptor)
    return parse_manifest(data, media_type=descriptor.media_type, subject=descriptor.digest)


def document_of(provider: Provider, digest: Digest) -> Descriptor:
    """The descriptor of a stored manifest or index of which only the digest is known.

    Raises:
        NotFound, DataLoss, InvalidArgument: There is none, or it is neither.
    """
    data = read_blob(provider, digest, max_size=MAX_MANIFEST_SIZE)
    parsed = parse_manifest(data, media_type=None, subject=digest)
    return Descriptor(media_type=parsed.media_type, digest=digest, size=len(data))


def children(document: Manifest | Index) -> Iterator[Descriptor]:
    """Everything it names, in its order; ``subject`` is no child but a parent of another kind."""
    if isinstance(document, Index):
        yield from document.manifests
    else:
        yield document.config
        yield from document.layers


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether an index's child is no image but tells about a sibling (provenance, SBOM)."""
    return _REFERENCE_TYPE in descriptor.annotations


def attested(descriptor: Descriptor) -> str | None:
    """The digest of the sibling that an attestation is about."""
    return descriptor.annotations.get(_REFERENCE_DIGEST)


def is_elsewhere(descriptor: Descriptor) -> bool:
    """Whether the object may be had from its own URLs only, so that no registry need have it."""
    return mediatypes.is_nondistributable(descriptor.media_type) and bool(descriptor.urls)
