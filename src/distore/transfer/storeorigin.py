"""StoreOrigin: an image of a store to copy from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from distore.content.store import Manager, Provider
from distore.errors import NotFound
from distore.images.children import document_of
from distore.images.gclabels import referrers_of

if TYPE_CHECKING:
    from distore.content.store import Reader
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest


class OriginStore(Provider, Manager, Protocol):
    """What an origin needs of a store."""


class StoreOrigin:
    """An image of a store as the origin of a copy."""

    def __init__(self, store: OriginStore, root: Descriptor, *, name: str) -> None:
        self._store = store
        self._root = root
        self.name = name

    def resolve(self) -> Descriptor:
        return self._root

    def reader(self, digest: Digest, /) -> Reader:
        return self._store.reader(digest)

    def referrers(self, digest: Digest) -> list[Descriptor]:
        """What an earlier copy brought along for a document."""
        found = []
        for referrer in referrers_of(self._store.info(digest).labels):
            try:
                found.append(document_of(self._store, referrer))
            except NotFound:
                continue
        return found

    def close(self) -> None:
        """The store is its owner's to close."""

    def __enter__(self) -> StoreOrigin:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
