"""Blobs: the bytes that FakeRegistry offers, those of a store and others that belie their digest."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING

from distore.content.blobs import write_blob
from distore.content.slices import BytesReader
from distore.errors import NotFound
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from distore.content.store import Reader, Status, Store, Writer


class Blobs:
    """A store under a dict: what is put into ``data`` goes before the store, right or not.

    Args:
        store: Keeps what is pushed and put.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.laid: dict[Digest, bytes] = {}
        self.data = _Data(self)

    def put(self, data: bytes) -> Digest:
        """Keep a blob in the store."""
        return write_blob(self.store, f"put-{uuid.uuid4()}", data, expected=Digest.of(data))

    def reader(self, digest: Digest, /) -> Reader:
        laid = self.laid.get(digest)
        return self.store.reader(digest) if laid is None else BytesReader(laid)

    def writer(self, ref: str, /, *, total: int | None = None, expected: Digest | None = None) -> Writer:
        return self.store.writer(ref, total=total, expected=expected)

    def status(self, ref: str, /) -> Status:
        return self.store.status(ref)

    def statuses(self, *filters: str) -> Iterator[Status]:
        return self.store.statuses(*filters)

    def abort(self, ref: str, /) -> None:
        self.store.abort(ref)


class _Data(MutableMapping[Digest, bytes]):
    """Every blob by its digest; what is set here is offered by every repository, whatever it is."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def __getitem__(self, digest: Digest) -> bytes:
        try:
            reader = self._blobs.reader(digest)
        except NotFound as error:
            raise KeyError(digest) from error
        with reader:
            return reader.read_at(reader.size, 0)

    def __setitem__(self, digest: Digest, data: bytes) -> None:
        self._blobs.laid[digest] = data

    def __delitem__(self, digest: Digest) -> None:
        laid = self._blobs.laid.pop(digest, None)
        try:
            self._blobs.store.delete(digest)
        except NotFound as error:
            if laid is None:
                raise KeyError(digest) from error

    def __iter__(self) -> Iterator[Digest]:
        stored = [info.digest for info in self._blobs.store.walk()]
        return iter(dict.fromkeys([*self._blobs.laid, *stored]))

    def __len__(self) -> int:
        return sum(1 for _ in self)
