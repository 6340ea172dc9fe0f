"""What the parts of NamespaceSuite share: what they run on, and what is seen in a namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from distore import errors
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.testing.content_contract import BLOB, DIGEST, OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.images.image import ImageStore
    from distore.leases import LeaseManager
    from distore.oci.digest import Digest
    from distore.testing.content_contract import FullStore

SHAREABLE = "containerd.io/namespace.shareable"
DEFAULT = "default"
TARGET = Descriptor(media_type=mediatypes.OCI_INDEX, digest=DIGEST, size=len(BLOB))


class NamespaceManager(Protocol):
    """The namespaces of a store."""

    def list(self) -> Sequence[str]: ...
    def create(self, name: str, /, *, labels: Mapping[str, str] | None = None) -> None: ...
    def labels(self, name: str, /) -> dict[str, str]: ...
    def set_label(self, name: str, key: str, value: str, /) -> None: ...
    def delete(self, name: str, /) -> None: ...
    def policy(self) -> str: ...
    def set_policy(self, policy: str, /) -> None: ...


class View(Protocol):
    """All that one namespace has."""

    @property
    def content(self) -> FullStore: ...
    @property
    def images(self) -> ImageStore: ...
    @property
    def leases(self) -> LeaseManager: ...


def seen(view: View) -> set[Digest]:
    """The blobs of a namespace, by every way to ask."""
    digests = {info.digest for info in view.content.walk()}
    for digest in (DIGEST, OTHER):
        if digest in digests:
            view.content.reader(digest).close()
            view.content.info(digest)
        else:
            for ask in (view.content.reader, view.content.info, view.content.delete):
                with pytest.raises(errors.NotFound):
                    ask(digest)
    return digests


class NamespaceFixtures:
    """What a subclass gives."""

    @pytest.fixture
    def on(self) -> Callable[[str], View]:
        """A new handle on the store as a namespace sees it, as another process has; always the same
        store, empty at first."""
        raise NotImplementedError

    @pytest.fixture
    def namespaces(self) -> NamespaceManager:
        """Its namespaces."""
        raise NotImplementedError

    @pytest.fixture
    def stored(self) -> Callable[[], list[str]]:
        """The digests whose bytes the store has, once for each time it has them."""
        raise NotImplementedError
