"""A store with a registry's repositories, and short ways to fill them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from distore.errors import AlreadyExists
from distore.metadata.db import Metadata
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.repositories import ManifestRecord
from distore.testing.lease_suite import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.content.local.store import LocalStore


class World:
    """``clock`` is that of the repositories and of the collector; files have the time of the machine."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self.clock = Clock()
        self.metadata = Metadata(store, command="a test", now=self.clock)
        self.repositories = self.metadata.repositories

    def bring(self, data: bytes, labels: Mapping[str, str] | None = None) -> Digest:
        """Put it into the store alone."""
        digest = Digest.of(data)
        with suppress(AlreadyExists), self.store.writer(f"put-{digest}", expected=digest) as writer:
            writer.write(data)
            writer.commit(labels=labels or {})
        return digest

    def blob(self, data: bytes, repository: str = "app") -> Digest:
        """Push a blob."""
        digest = Digest.of(data)
        with self.repositories.keeping(digest):
            self.bring(data)
            self.repositories.add_blob(repository, digest, len(data))
        return digest

    def manifest(
        self, data: bytes, *tags: str, children: tuple[Digest, ...] = (), repository: str = "app"
    ) -> ManifestRecord:
        """Push a manifest, of a text that is none."""
        digest = Digest.of(data)
        record = ManifestRecord(
            descriptor=Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=len(data)),
            children=tuple((child, 1) for child in children),
        )
        with self.repositories.keeping(digest):
            self.bring(data)
            assert self.repositories.put_manifest(repository, record, tags=tags, needed=children) == []
        return record

    def image(self, name: str, *tags: str, repository: str = "app") -> tuple[Digest, Digest]:
        """Push a manifest with one layer; the digests of both."""
        layer = self.blob(f"layer of {name}".encode(), repository)
        record = self.manifest(
            f"manifest of {name}".encode(), *tags, children=(layer,), repository=repository
        )
        return record.descriptor.digest, layer

    def collect(self, **options: bool) -> list[str]:
        """What a pass removes, by kind and key."""
        return sorted(f"{each.kind} {each.key}" for each in self.metadata.collector.collect(**options))

    def there(self) -> set[Digest]:
        """Every blob of the store."""
        return set(self.store.digests())
