"""ImportSink: a store that takes images of an archive."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from distore.errors import Locked, NotFound
from distore.images.children import has_children, read_manifest
from distore.images.gclabels import gc_labels
from distore.remotes.refkey import ref_key
from distore.transfer.storesink import StoreSink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.content.store import Provider
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.transfer.storesink import SinkStore


class ImportSink(StoreSink):
    """A StoreSink that remembers what was new and keeps no half of a blob: the archive is there to
    be read again.

    Args:
        name: What messages call it.
        brought: Gets the digest of every object that is new in the store.
        on_tag: Told of the root once everything is there.
    """

    def __init__(
        self,
        store: SinkStore,
        *,
        name: str,
        brought: Callable[[Digest], None],
        on_tag: Callable[[Descriptor], None],
    ) -> None:
        super().__init__(store, name=name, labels=_labels, on_tag=on_tag)
        self._brought = brought

    def push(
        self,
        descriptor: Descriptor,
        provider: Provider,
        /,
        *,
        sources: Sequence[str] = (),
        on_progress: Callable[[int], None] = lambda _offset: None,
    ) -> str:
        try:
            how = super().push(descriptor, provider, sources=sources, on_progress=on_progress)
        except BaseException:
            with suppress(NotFound, Locked):  # nothing was begun, or another process goes on with it
                self._store.abort(ref_key(descriptor.media_type, descriptor.digest))
            raise
        if how == "pushed":
            self._brought(descriptor.digest)
        return how


def _labels(descriptor: Descriptor, provider: Provider) -> Mapping[str, str]:
    return gc_labels(read_manifest(provider, descriptor)) if has_children(descriptor) else {}
