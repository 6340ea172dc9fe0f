"""An image layout in a folder as the destination of an export."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from distore._internal import fsops
from distore._internal.oserrors import translated
from distore.errors import DataLoss, DigestMismatch, DiskFull, SizeMismatch
from distore.transfer import ociindex
from distore.transfer.exportindex import entries_of
from distore.transfer.layout import LayoutSink as _Sink

# The lock of index.json is what keeps this and `dist copy` apart, so that both go through one place.
from distore.transfer.layout import index_lock, read_file, read_index, replace_file
from distore.transfer.ociindex import CONTAINERD_NAME, REF_NAME, ImageIndex
from distore.transfer.space import Space

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distore.content.store import Provider
    from distore.oci.descriptor import Descriptor
    from distore.transfer.exportplan import Plan
    from distore.transfer.storesink import SinkStore


class LayoutFolder:
    """A layout, which is made when it is missing; other images that it holds stay.

    What is there already is not written again, and what an export that broke off left is resumed.

    Args:
        root: Its folder.
        store: Keeps the layout's blobs.
    """

    def __init__(self, root: str, *, store: SinkStore) -> None:
        self.name = f"oci:{root}"
        self._root = root
        self._store = store
        self._sink = _Sink(root, None, store=store)

    def missing(self, plan: Plan) -> list[Descriptor]:
        """Blobs of the plan that the layout lacks.

        Raises:
            DiskFull: They do not fit.
        """
        missing = [blob for blob in plan.blobs if not self._sink.exists(blob)]
        size = sum(each.size for each in (*missing, *plan.documents))
        free = self._store.free_space() if isinstance(self._store, Space) else None
        if free is not None and size > free:
            raise DiskFull(f"{self.name}: {size} bytes are needed and {free} are free; nothing was written")
        return missing

    def push(self, descriptor: Descriptor, provider: Provider, *, on_progress: Callable[[int], None]) -> str:
        """Bring one object; ``pushed`` or ``present``.

        Raises:
            DataLoss: ``provider`` has other bytes than the digest stands for.
        """
        try:
            return self._sink.push(descriptor, provider, on_progress=on_progress)
        except (DigestMismatch, SizeMismatch) as error:
            raise DataLoss(f"content {descriptor.digest}: damaged in the store; run dist fsck") from error

    def finish(self, plan: Plan) -> bytes:
        """Name the images, durably and at once; index.json as it is now."""
        with translated(self.name):
            fsops.ensure_directory(self._root)
        with translated(self.name), index_lock(self._root):
            index = read_index(self._root, self.name) or ImageIndex.empty()
            data = merged(index, plan).to_bytes(subject=self.name)
            if read_file(self._root, ociindex.LAYOUT_FILE, ociindex.MAX_LAYOUT_SIZE, self.name) is None:
                replace_file(self._root, ociindex.LAYOUT_FILE, ociindex.LAYOUT)
            replace_file(self._root, ociindex.INDEX_FILE, data)
        return data

    def close(self) -> None:
        """Remove ``ingest/`` unless something is kept there for a resume."""
        self._sink.close()


def merged(index: ImageIndex, plan: Plan) -> ImageIndex:
    """The index with the images of the plan: older ones of their names give way, others stay."""
    names = {image.name for image in plan.images if image.name is not None}
    nameless = {image.root.digest for image in plan.images if image.name is None}
    nameless.update(extra.digest for extra in plan.extras)

    def gives_way(entry: Mapping[str, object]) -> bool:
        name, short = _annotation(entry, CONTAINERD_NAME), _annotation(entry, REF_NAME)
        if name is None and short is None:
            return entry.get("digest") in nameless
        return (name or short) in names

    kept = tuple(entry for entry in index.entries if not gives_way(entry))
    taken = {short for entry in kept if (short := _annotation(entry, REF_NAME)) is not None}
    return replace(index, entries=(*kept, *entries_of(plan, taken=taken)))


def _annotation(entry: Mapping[str, object], key: str) -> str | None:
    annotations = entry.get("annotations")
    found = annotations.get(key) if isinstance(annotations, dict) else None
    return found if isinstance(found, str) else None
