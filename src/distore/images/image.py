"""Image: a name and the root that it stands for; ImageStore keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from distore.oci.descriptor import Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One record; ``name`` is a whole reference, times are aware UTC."""

    name: str
    target: Descriptor
    created: datetime
    updated: datetime
    labels: Mapping[str, str] = field(default_factory=dict)


class ImageStore(Protocol):
    """Knows images by name. Durable: what a call did survives a power cut."""

    def get(self, name: str, /) -> Image:
        """About one image.

        Raises:
            NotFound: No such image.
        """
        ...

    def put(self, name: str, target: Descriptor, /) -> Image:
        """Give ``target`` the name; one that had it before loses it."""
        ...

    def list(self) -> Iterator[Image]:
        """Every image, by name."""
        ...

    def delete(self, name: str, /) -> None:
        """Forget a name; the content stays.

        Raises:
            NotFound: No such image.
        """
        ...
