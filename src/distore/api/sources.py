"""Sources: what a program stores in a registry, as Providers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, Self

from distore.content.fileblob import FileBlob
from distore.content.slices import BytesReader
from distore.errors import FailedPrecondition, NotFound
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import parse_manifest

if TYPE_CHECKING:
    from typing import BinaryIO

    from distore.content.store import Reader
    from distore.oci.reference import Reference


class Blob(Protocol):
    """A Provider of one blob; leaving the ``with`` block lets go of it."""

    @property
    def digest(self) -> Digest:
        """Its name."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def reader(self, digest: Digest, /) -> Reader:
        """As ``Provider.reader``."""
        ...

    def __enter__(self) -> Blob: ...
    def __exit__(self, *exc: object) -> None: ...


class BytesBlob:
    """A Blob in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.digest = Digest.of(data)
        self.size = len(data)

    def reader(self, digest: Digest, /) -> BytesReader:
        if digest != self.digest:
            raise NotFound(f"content {digest}: not found")
        return BytesReader(self._data, subject=f"content {digest}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is held."""


def opened(source: bytes | str | os.PathLike[str] | BinaryIO) -> Blob:
    """What ``source`` holds.

    Raises:
        NotFound, PermissionDenied, FailedPrecondition: The file cannot be opened.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesBlob(bytes(source))
    if isinstance(source, str | os.PathLike):
        return FileBlob.open(os.fspath(source))
    return FileBlob.spooled(source)


def manifest_root(reference: Reference, data: bytes, *, media_type: str | None) -> Descriptor:
    """The descriptor of a manifest that is to be stored under ``reference``.

    Raises:
        FailedPrecondition: Its digest is not the one named.
        InvalidArgument, ResourceExhausted: As ``parse_manifest``.
    """
    parsed = parse_manifest(data, media_type=media_type, subject=str(reference))
    named = reference.digest
    digest = Digest.of(data, algorithm=named.algorithm if named else "sha256")
    if named not in (None, digest):
        raise FailedPrecondition(f"manifest {reference}: its digest is {digest}")
    return Descriptor(media_type=media_type or parsed.media_type, digest=digest, size=len(data), data=data)
