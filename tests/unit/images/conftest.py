"""Images made of nothing but descriptors and documents."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from distore.errors import NotFound
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.oci.manifest import Index, Manifest
from distore.oci.platform import Platform


class Library:
    """Documents by digest, and how often each was read."""

    def __init__(self) -> None:
        self.documents: dict[Digest, Manifest | Index] = {}
        self.reads: list[Digest] = []

    def blob(self, name: str, media_type: str = mediatypes.OCI_LAYER_GZIP, **more: object) -> Descriptor:
        data = name.encode()
        return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data), **more)  # type: ignore[arg-type]  # fields of a descriptor

    def manifest(
        self,
        name: str,
        layers: tuple[Descriptor, ...] = (),
        *,
        platform: str | None = None,
        **more: object,
    ) -> Descriptor:
        """A manifest whose digest is that of its name."""
        config = self.blob(f"{name}-config", mediatypes.OCI_CONFIG)
        document = Manifest(media_type=mediatypes.OCI_MANIFEST, config=config, layers=layers)
        runs = Platform.parse(platform) if platform else None
        return self._kept(name, document, platform=runs, **more)

    def index(self, name: str, manifests: tuple[Descriptor, ...], **more: object) -> Descriptor:
        return self._kept(name, Index(media_type=mediatypes.OCI_INDEX, manifests=manifests), **more)

    def read(self, descriptor: Descriptor) -> Manifest | Index:
        self.reads.append(descriptor.digest)
        try:
            return self.documents[descriptor.digest]
        except KeyError as error:
            raise NotFound(f"content {descriptor.digest}: not found") from error

    def _kept(self, name: str, document: Manifest | Index, **more: object) -> Descriptor:
        descriptor = self.blob(name, document.media_type, **more)
        self.documents[descriptor.digest] = document
        return descriptor


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def new_library() -> Callable[[], Library]:
    """For properties, which want one for each case."""
    return Library
