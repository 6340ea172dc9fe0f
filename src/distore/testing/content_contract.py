"""What the parts of ContentSuite share: what they run on, and what they store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from distore import errors
from distore.content.store import Follower, Store
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from distore.content.store import SegmentWriter


class FullStore(Store, Follower, Protocol):
    """What the suite runs on: a Store whose writers take segments, and which can be followed."""

    def writer(
        self, ref: str, /, *, total: int | None = None, expected: Digest | None = None
    ) -> SegmentWriter: ...


BLOB = b"some bytes, " * 1000
DIGEST = Digest.of(BLOB)
OTHER = Digest.of(b"other")


def put(store: Store, data: bytes, *, ref: str = "put", labels: dict[str, str] | None = None) -> Digest:
    """Commit a blob that may be there already."""
    try:
        with store.writer(ref) as writer:
            if writer.offset:
                writer.truncate()
            writer.write(data)
            return writer.commit(labels=labels)
    except errors.AlreadyExists:
        return Digest.of(data)
