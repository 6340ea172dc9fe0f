"""What the suite of repositories runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.repositories import ManifestRecord
from distore.testing.lease_suite import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.repositories import Repositories

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SIGNATURE = "application/vnd.example.signature"
SBOM = "application/vnd.example.sbom"
NOWHERE = Digest.of(b"nowhere")


class RepositoryContract:
    """The fixtures."""

    @pytest.fixture
    def clock(self) -> Clock:
        """What the repositories have as their clock."""
        return Clock()

    @pytest.fixture
    def repositories(self) -> Repositories:
        """Empty ones."""
        raise NotImplementedError

    @pytest.fixture
    def stored(self) -> Callable[[bytes], Digest]:
        """Puts bytes into the content store."""
        raise NotImplementedError

    @pytest.fixture
    def blob(self, repositories: Repositories, stored: Callable[[bytes], Digest]) -> Callable[..., Digest]:
        """Pushes a blob."""

        def push(data: bytes, repository: str = "app", *, cached: bool = False) -> Digest:
            digest = Digest.of(data)
            with repositories.keeping(digest):
                stored(data)
                repositories.add_blob(repository, digest, len(data), cached=cached)
            return digest

        return push

    @pytest.fixture
    def manifest(
        self, repositories: Repositories, stored: Callable[[bytes], Digest]
    ) -> Callable[..., ManifestRecord]:
        """Pushes a manifest; what it says is told beside it."""

        def push(
            data: bytes,
            *tags: str,
            repository: str = "app",
            children: tuple[tuple[Digest, int], ...] = (),
            subject: Digest | None = None,
            artifact_type: str | None = None,
            cached: bool = False,
        ) -> ManifestRecord:
            digest = Digest.of(data)
            record = ManifestRecord(
                descriptor=Descriptor(
                    media_type=MANIFEST,
                    digest=digest,
                    size=len(data),
                    artifact_type=artifact_type,
                    annotations={"named": data.decode()},
                ),
                subject=subject,
                children=children,
            )
            with repositories.keeping(digest):
                stored(data)
                assert repositories.put_manifest(repository, record, tags=tags, cached=cached) == []
            return record

        return push
