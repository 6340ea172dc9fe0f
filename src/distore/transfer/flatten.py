"""Flatten: all layers of an image as one, which has the same tree."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from distore.content.blobs import CHUNK
from distore.diff.compression import BlobInput, Decompressed
from distore.diff.overlaytar import LayerTar, merged
from distore.errors import DataLoss, FailedPrecondition, NotFound
from distore.oci import mediatypes
from distore.transfer.newimage import LayerWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from _typeshed import ReadableBuffer

    from distore.content.store import Input, Provider
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.transfer.newimage import LayerFormat, NewLayer
    from distore.transfer.storesink import SinkStore

_BATCH: Final = 256 * 1024  # bytes; a header alone would be a system call of its own


def flatten(
    store: SinkStore,
    layers: Sequence[tuple[Descriptor, Digest]],
    layer_format: LayerFormat,
    *,
    subject: str,
) -> NewLayer:
    """Store one layer that has what is seen through all of ``layers``, (descriptor, DiffID), the
    lowest first. No whiteout is left in it. What they unpack to is compared with the DiffIDs.

    Raises:
        NotFound: A layer is not in the store.
        FailedPrecondition: One is no tar file, or something that no extraction could make.
        DataLoss: One is damaged, or is not what its DiffID says.
        ResourceExhausted: More names than memory should hold.
    """
    verified: set[Digest] = set()
    tars = [
        LayerTar(
            subject=f"layer {descriptor.digest}",
            open=partial(_opened, store, descriptor, diff_id, verified),
        )
        for descriptor, diff_id in layers
    ]
    return write_layer(store, merged(tars), layer_format, subject=subject)


def write_layer(
    store: SinkStore, chunks: Iterable[ReadableBuffer], layer_format: LayerFormat, *, subject: str
) -> NewLayer:
    """Store plain bytes that come in any pieces as a layer."""
    with LayerWriter(store, layer_format, subject=subject) as writer:
        batch = bytearray()
        for chunk in chunks:
            batch += memoryview(chunk)
            if len(batch) >= _BATCH:
                writer.write(batch)
                batch.clear()
        writer.write(batch)
        return writer.commit()


def pieces(source: Input) -> Iterator[memoryview]:
    """All of an Input; each piece is good until the next."""
    space = memoryview(bytearray(CHUNK))
    while size := source.readinto(space):
        yield space[:size]


@contextmanager
def opened_layer(provider: Provider, descriptor: Descriptor) -> Iterator[Iterator[memoryview]]:
    """The plain bytes of a layer.

    Raises:
        NotFound: It is not there.
        DataLoss: It is damaged.
    """
    subject = f"layer {descriptor.digest}"
    try:
        reader = provider.reader(descriptor.digest)
    except NotFound as error:
        raise NotFound(f"{subject}: not in the store; dist pull brings it") from error
    with reader:
        yield pieces(Decompressed(BlobInput(reader), subject=subject))


@contextmanager
def _opened(
    provider: Provider, descriptor: Descriptor, diff_id: Digest, verified: set[Digest]
) -> Iterator[Iterator[memoryview]]:
    """The same, compared with its DiffID once."""
    if not mediatypes.is_layer(descriptor.media_type):
        kind = descriptor.media_type[:80]
        raise FailedPrecondition(f"layer {descriptor.digest}: no tar file but {kind!a}")
    with opened_layer(provider, descriptor) as chunks:
        yield chunks if diff_id in verified else _compared(chunks, descriptor, diff_id)
        verified.add(diff_id)


def _compared(chunks: Iterator[memoryview], descriptor: Descriptor, diff_id: Digest) -> Iterator[memoryview]:
    verifier = diff_id.verifier()
    for chunk in chunks:
        verifier.update(chunk)
        yield chunk
    if not verifier.verified():
        raise DataLoss(
            f"layer {descriptor.digest}: unpacks to {verifier.actual()}, its config says {diff_id}"
        )
