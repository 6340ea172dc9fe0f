"""Ends of a copy: where an image comes from. Where it goes is a Pusher (remotes/resolver.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from distore.content.store import Provider

if TYPE_CHECKING:
    from distore.oci.descriptor import Descriptor


class Origin(Provider, Protocol):
    """One image and the blobs that it is made of; leaving the ``with`` block closes it.

    Blobs are not verified by ``reader``: whoever takes them in does that.
    """

    @property
    def name(self) -> str:
        """What messages call it, such as ``oci:folder:tag``."""
        ...

    def resolve(self) -> Descriptor:
        """The root of the image: an index or a manifest.

        Raises:
            NotFound: No such image there; names those that are.
            FailedPrecondition: It holds something that is no image, or several and no tag says which.
        """
        ...

    def close(self) -> None:
        """Release it; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
