"""New objects of an image in a store: documents with their labels, layers compressed as they come."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.content.slices import BytesReader
from distore.diff.compression import check_level, compressor
from distore.diff.frames import GZIP, ZSTD
from distore.errors import AlreadyExists, DataLoss, DistoreError, InvalidArgument
from distore.images.children import has_children
from distore.images.gclabels import gc_labels
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest, new_hasher
from distore.oci.manifest import parse_manifest
from distore.transfer.scratch import LAYER, drop, open_scratch
from distore.transfer.storesink import StoreSink

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from _typeshed import ReadableBuffer

    from distore.content.store import Input, Manager, Reader
    from distore.transfer.storesink import SinkStore

UNCOMPRESSED_LABEL: Final = "containerd.io/uncompressed"  # as containerd notes the DiffID of a layer
OCI: Final = "oci"
DOCKER: Final = "docker"
FLAVOURS: Final = (OCI, DOCKER)
MAX_THREADS: Final = 8  # of one layer
_PIECE: Final = 256 * 1024  # plain bytes moved at a time: what is hashed is in the cache when it is packed
_LAYERS: Final[Mapping[tuple[str, str | None], str]] = {
    (OCI, None): mediatypes.OCI_LAYER,
    (OCI, GZIP): mediatypes.OCI_LAYER_GZIP,
    (OCI, ZSTD): mediatypes.OCI_LAYER_ZSTD,
    (DOCKER, None): mediatypes.DOCKER_LAYER,
    (DOCKER, GZIP): mediatypes.DOCKER_LAYER_GZIP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLayer:
    """A layer that was made: ``size`` is that of the plain bytes, which ``diff_id`` names."""

    descriptor: Descriptor
    diff_id: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFormat:
    """How to write a layer.

    Args:
        compression: ``gzip``, ``zstd`` or None.
        flavour: Whose media type it gets, ``oci`` or ``docker``.
        level: Of the compression; None: its usual one.
        threads: That compress; the result does not depend on them.
    Raises:
        InvalidArgument: There is no such thing; docker has no zstd.
    """

    compression: str | None = GZIP
    flavour: str = OCI
    level: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        check_level(self.compression, self.level)
        layer_media_type(self.flavour, self.compression)

    @property
    def media_type(self) -> str:
        """Of a layer written so."""
        return layer_media_type(self.flavour, self.compression)


def layer_media_type(flavour: str, compression: str | None) -> str:
    """The media type of a layer.

    Raises:
        InvalidArgument: There is none.
    """
    try:
        return _LAYERS[flavour, compression]
    except KeyError as error:
        if (flavour, compression) == (DOCKER, ZSTD):
            raise InvalidArgument("a layer with zstd: docker's media types have none; take oci's") from error
        raise InvalidArgument(f"a layer of {flavour} with {compression}: there is no such thing") from error


def all_threads() -> int:
    """As many as this process may run at once, up to MAX_THREADS."""
    return min(len(os.sched_getaffinity(0)), MAX_THREADS)


def put_document(
    store: SinkStore, data: bytes, media_type: str, *, labels: Mapping[str, str] | None = None
) -> Descriptor:
    """Have a manifest, an index or a config in ``store``, durably, whether or not it was there.

    It has ``labels`` afterwards, and one for each child, so that a collector keeps those with it.

    Raises:
        InvalidArgument, FailedPrecondition, ResourceExhausted: A manifest or index that is none.
    """
    digest = Digest.of(data)
    descriptor = Descriptor(media_type=media_type, digest=digest, size=len(data))
    wanted = dict(labels or {})
    if has_children(descriptor):
        wanted |= gc_labels(parse_manifest(data, media_type=media_type, subject=digest))
    sink = StoreSink(store, name="the store", labels=lambda _descriptor, _provider: wanted)
    if sink.push(descriptor, _Bytes(data)) == "present":
        add_labels(store, digest, wanted)
    return descriptor


def add_labels(store: Manager, digest: Digest, labels: Mapping[str, str]) -> None:
    """Give a blob labels that it lacks; the others stay.

    Raises:
        NotFound: No such blob.
    """
    info = store.info(digest)
    lacking = [key for key, value in labels.items() if info.labels.get(key) != value]
    if lacking:
        changed = info._replace(labels={**info.labels, **labels})
        store.update(changed, *(f"labels.{key}" for key in lacking))


class _Bytes:
    """A Provider of one blob."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def reader(self, _digest: Digest, /) -> Reader:
        return BytesReader(self._data)


class LayerWriter:
    """Takes the plain bytes of a layer and stores it compressed; hashes both sides on the way.

    Leaving the ``with`` block without ``commit`` drops everything. Memory does not grow with the layer.

    Args:
        subject: What messages call it.
    """

    def __init__(
        self,
        store: SinkStore,
        layer_format: LayerFormat,
        *,
        subject: str,
    ) -> None:
        self._store = store
        self._format = layer_format
        self._subject = subject
        self._plain = new_hasher("sha256")
        self._size = 0
        self._done = False
        self._writer = open_scratch(store, LAYER)
        try:
            self._packer = (
                compressor(
                    layer_format.compression,
                    self._writer.write,
                    level=layer_format.level,
                    threads=layer_format.threads,
                    subject=subject,
                )
                if layer_format.compression
                else None
            )
        except BaseException:
            self._drop()
            raise

    def write(self, data: ReadableBuffer, /) -> int:
        """Append all of ``data``, plain; it may be reused afterwards.

        Raises:
            DiskFull, QuotaExceeded, ReadOnly, DataLoss: As ``Writer.write``.
        """
        self._size += (size := memoryview(data).nbytes)
        if self._packer is None:
            self._writer.write(data)  # which hashes it
        else:
            self._plain.update(data)
            self._packer.write(data)
        return size

    def commit(self, *, expected: Digest | None = None) -> NewLayer:
        """Store the layer, durably, with its DiffID as a label.

        Args:
            expected: The DiffID it must have, or None.
        Raises:
            DataLoss: It has another one; nothing is kept.
            DiskFull, QuotaExceeded, ReadOnly: As ``Writer.commit``.
        """
        if self._packer is not None:
            self._packer.finish()
            diff_id = Digest.from_hasher("sha256", self._plain)
        else:
            diff_id = self._writer.digest()
        if expected not in (None, diff_id):
            raise DataLoss(f"{self._subject}: unpacks to {diff_id}, its config says {expected}")
        labels = {UNCOMPRESSED_LABEL: str(diff_id)}
        size, digest = self._writer.offset, self._writer.digest()
        try:
            self._writer.commit(size=size, expected=digest, labels=labels)
        except AlreadyExists:
            add_labels(self._store, digest, labels)
        self._done = True
        descriptor = Descriptor(media_type=self._format.media_type, digest=digest, size=size)
        return NewLayer(descriptor=descriptor, diff_id=diff_id, size=self._size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._packer is not None:
            self._packer.close()
        self._drop()
        if isinstance(error, DistoreError):  # nobody knows the ingest
            text = str(error).removeprefix(f"ingest {self._writer.ref!r}: ")
            if text != str(error):
                error.args = (f"{self._subject}: making the layer: {text}",)

    def _drop(self) -> None:
        self._writer.close()
        if not self._done:
            drop(self._store, self._writer.ref)


def put_layer(
    store: SinkStore,
    source: Input,
    layer_format: LayerFormat,
    *,
    subject: str,
    expected: Digest | None = None,
) -> NewLayer:
    """Store all of ``source``, plain bytes, as a layer; whether or not it was there.

    Raises:
        DataLoss: Its DiffID is not ``expected``; nothing is kept.
        DistoreError: As ``source`` and ``LayerWriter``.
    """
    space = memoryview(bytearray(_PIECE))
    with LayerWriter(store, layer_format, subject=subject) as writer:
        while size := source.readinto(space):
            writer.write(space[:size])
        return writer.commit(expected=expected)
