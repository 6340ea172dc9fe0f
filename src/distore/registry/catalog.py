"""Catalog: which repository has which blobs, manifests, tags and referrers."""

from __future__ import annotations

import threading
from collections.abc import Container, MutableMapping
from typing import TYPE_CHECKING

from distore.errors import NotFound

if TYPE_CHECKING:
    from distore.content.store import Provider, Reader
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest

Tags = MutableMapping[str, dict[str, "Descriptor"]]


class Catalog:
    """Kept in memory; safe to use from any thread.

    A repository is there from its first blob, manifest or tag on.

    Args:
        tags: Tags by repository; others may change it, too.
        everywhere: Blobs that every repository offers.
    """

    def __init__(self, tags: Tags, *, everywhere: Container[Digest] = ()) -> None:
        self.tags = tags
        self._everywhere = everywhere
        self._guard = threading.RLock()
        self._members: dict[str, dict[Digest, str | None]] = {}  # to the media type of a manifest
        self._referrers: dict[tuple[str, Digest], dict[Digest, Descriptor]] = {}

    def add(self, repository: str, digest: Digest, *, media_type: str | None = None) -> None:
        """Let ``repository`` offer a blob, or a manifest of ``media_type``."""
        with self._guard:
            self.tags.setdefault(repository, {})
            members = self._members.setdefault(repository, {})
            members[digest] = media_type or members.get(digest)

    def has(self, repository: str, digest: Digest) -> bool:
        """Whether ``repository`` offers it."""
        with self._guard:
            return digest in self._everywhere or digest in self._members.get(repository, {})

    def media_type(self, repository: str, digest: Digest) -> str | None:
        """What a manifest was put as; None for what is none."""
        with self._guard:
            return self._members.get(repository, {}).get(digest)

    def refer(self, repository: str, subject: Digest, referrer: Descriptor) -> None:
        """Note that the manifest ``referrer`` is about ``subject``, which need not be there."""
        with self._guard:
            self._referrers.setdefault((repository, subject), {})[referrer.digest] = referrer

    def referrers(self, repository: str, subject: Digest) -> list[Descriptor]:
        """Every manifest that is about ``subject``."""
        with self._guard:
            return list(self._referrers.get((repository, subject), {}).values())

    def tag(self, repository: str, tag: str, descriptor: Descriptor) -> None:
        """Let ``tag`` name a manifest from now on."""
        with self._guard:
            self.tags.setdefault(repository, {})[tag] = descriptor

    def untag(self, repository: str, tag: str) -> bool:
        """Remove a tag and nothing else; whether it was there."""
        with self._guard:
            return self.tags.get(repository, {}).pop(tag, None) is not None

    def remove_blob(self, repository: str, digest: Digest) -> bool:
        """Offer a blob no more; whether it was offered, and is no manifest."""
        with self._guard:
            members = self._members.get(repository, {})
            if digest not in members or members[digest] is not None:
                return False
            del members[digest]
            return True

    def remove_manifest(self, repository: str, digest: Digest) -> bool:
        """Offer a manifest no more, under no tag, and forget that it refers; whether it was offered."""
        with self._guard:
            members, tags = self._members.get(repository, {}), self.tags.get(repository, {})
            if members.get(digest) is None:
                return False
            del members[digest]
            for tag in [name for name, descriptor in tags.items() if descriptor.digest == digest]:
                del tags[tag]
            for (owner, _), referrers in self._referrers.items():
                if owner == repository:
                    referrers.pop(digest, None)
            return True

    def offered(self, repository: str, content: Provider) -> Provider:
        """Only what ``repository`` has of ``content``."""
        return _Offered(self, repository, content)


class _Offered:
    def __init__(self, catalog: Catalog, repository: str, content: Provider) -> None:
        self._catalog = catalog
        self._repository = repository
        self._content = content

    def reader(self, digest: Digest, /) -> Reader:
        if not self._catalog.has(self._repository, digest):
            raise NotFound(f"content {digest}: not in repository {self._repository}")
        return self._content.reader(digest)
