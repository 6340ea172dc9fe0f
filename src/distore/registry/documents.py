"""Documents: manifests, indexes and configs as parsed, by digest; those asked for last are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from distore.content.blobs import read_blob
from distore.errors import DistoreError
from distore.oci.descriptor import Descriptor
from distore.oci.manifest import MAX_MANIFEST_SIZE, Index, Manifest, parse_config, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import Provider
    from distore.oci.digest import Digest
    from distore.oci.manifest import ImageConfig

MEMORY: Final = 4 * 1024 * 1024  # bytes of the documents that are kept, as they lie in the store
_OVERHEAD: Final = 500  # bytes that the smallest one takes
T = TypeVar("T")


class Documents:
    """Reads out of ``content``; thread-safe. What is not there, is damaged or is no such document is None.

    Args:
        memory: Bytes of manifests, and of configs, that are kept at most.
    """

    def __init__(self, content: Provider, *, memory: int = MEMORY) -> None:
        self._content = content
        self._manifests: _Recent[Manifest | Index] = _Recent(memory)
        self._configs: _Recent[ImageConfig] = _Recent(memory)

    def manifest(self, digest: Digest, media_type: str | None = None) -> Manifest | Index | None:
        """A manifest or index.

        Args:
            media_type: What whoever names it calls it, or None; a document that says otherwise is none.
        """
        return self._manifests.get(
            f"{digest} {media_type}",
            lambda: self._read(digest),
            lambda data: parse_manifest(data, media_type=media_type, subject=digest),
        )

    def config(self, digest: Digest) -> ImageConfig | None:
        """The config of an image, unless it is larger than a manifest may be."""
        return self._configs.get(
            digest, lambda: self._read(digest), lambda data: parse_config(data, subject=digest)
        )

    def described(self, digest: Digest) -> Descriptor | None:
        """The descriptor of a manifest or index of which only the digest is known, as a list of
        referrers shows it."""
        document = self.manifest(digest)
        if document is None:
            return None
        try:
            with self._content.reader(digest) as reader:
                size = reader.size
        except DistoreError:
            return None
        return Descriptor(
            media_type=document.media_type,
            digest=digest,
            size=size,
            artifact_type=document.artifact_type,
            annotations=document.annotations,
        )

    def _read(self, digest: Digest) -> bytes:
        return read_blob(self._content, digest, max_size=MAX_MANIFEST_SIZE)


class _Recent(Generic[T]):
    """Values by key, the least recently used of which go first."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._guard = threading.Lock()
        self._used = 0
        self._kept: OrderedDict[str, tuple[T | None, int]] = OrderedDict()

    def get(self, key: str, read: Callable[[], bytes], parse: Callable[[bytes], T]) -> T | None:
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        try:
            data = read()
        except DistoreError:
            return None  # not remembered: it may come, or be repaired
        try:
            value = parse(data)
        except DistoreError:
            value = None  # and never will be one
        with self._guard:
            weight = len(data) + _OVERHEAD
            if key not in self._kept and weight <= self._memory:
                self._kept[key] = (value, weight)
                self._used += weight
            while self._used > self._memory:
                _, (_, gone) = self._kept.popitem(last=False)
                self._used -= gone
        return value
