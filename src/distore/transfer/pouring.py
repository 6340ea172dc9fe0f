"""Pouring a blob from a Provider into something else, verified or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.content.blobs import CHUNK
from distore.remotes.mismatch import wrong_digest, wrong_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import Provider, Reader
    from distore.oci.descriptor import Descriptor


def pour(
    reader: Reader,
    take: Callable[[memoryview], object],
    *,
    offset: int,
    subject: str,
    on_progress: Callable[[int], None] = lambda _offset: None,
) -> None:
    """Hand all bytes from ``offset`` on to ``take``, which must be done with them when it returns.

    Raises:
        SizeMismatch: The reader has fewer bytes than it says.
    """
    on_progress(offset)
    space = memoryview(bytearray(max(1, min(CHUNK, reader.size - offset))))
    while offset < reader.size:
        size = reader.readinto_at(space[: reader.size - offset], offset)
        if not size:
            raise wrong_size(subject, expected=reader.size, actual=offset)
        take(space[:size])
        offset += size
        on_progress(offset)


def pour_verified(
    provider: Provider,
    descriptor: Descriptor,
    take: Callable[[memoryview], object],
    *,
    on_progress: Callable[[int], None] = lambda _offset: None,
) -> None:
    """Hand the whole blob to ``take``; that it was the right one is known at the end.

    Raises:
        NotFound: ``provider`` lacks it.
        SizeMismatch: Before the first byte, or where the bytes end too early.
        DigestMismatch: After the last byte.
    """
    subject = f"content {descriptor.digest}"
    verifier = descriptor.digest.verifier()

    def taken(data: memoryview) -> None:
        verifier.update(data)
        take(data)

    with provider.reader(descriptor.digest) as reader:
        check_size(reader, descriptor)
        pour(reader, taken, offset=0, subject=subject, on_progress=on_progress)
    if not verifier.verified():
        raise wrong_digest(subject, expected=descriptor.digest, actual=verifier.actual())


def check_size(reader: Reader, descriptor: Descriptor) -> None:
    """Refuse a source that has more or fewer bytes than the descriptor says.

    Raises:
        SizeMismatch: It has.
    """
    if reader.size != descriptor.size:
        raise wrong_size(f"content {descriptor.digest}", expected=descriptor.size, actual=reader.size)
