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
    """Knows the images of one namespace by name (containerd core/images/image.go). Durable: what a
    call did survives a power cut. An image keeps its target from the collector, and the target what
    its labels name."""

    def get(self, name: str, /) -> Image:
        """About one image.

        Raises:
            NotFound: No such image.
        """
        ...

    def create(self, name: str, target: Descriptor, /, *, labels: Mapping[str, str] | None = None) -> Image:
        """Give ``target`` a name that is free.

        Raises:
            AlreadyExists: It is not.
            InvalidArgument: An empty name, or a label over MAX_LABEL_SIZE.
        """
        ...

    def put(self, name: str, target: Descriptor, /) -> Image:
        """Give ``target`` the name; one that had it before loses it. Labels stay."""
        ...

    def update(self, image: Image, /, *fieldpaths: str) -> Image:
        """Change the image of ``image.name`` and return it as it is now; ``updated`` becomes now.

        Field paths are ``labels``, ``labels.KEY`` (set one, or remove it when ``image.labels`` lacks
        it or has it empty), ``target`` and ``annotations`` (those of the target). Without one the target and
        all labels are replaced.

        Raises:
            NotFound: No such image.
            InvalidArgument: Another field path, or a label over MAX_LABEL_SIZE; nothing changed.
        """
        ...

    def list(self, *filters: str) -> Iterator[Image]:
        """Every image that one of ``filters`` matches (all without a filter), by name. Memory does not grow.

        Filters see ``name``, ``target.digest``, ``target.mediatype``, ``labels.KEY`` and
        ``annotations.KEY`` (of the target).

        Raises:
            InvalidArgument: A filter does not parse.
        """
        ...

    def delete(self, name: str, /) -> None:
        """Forget a name; the content stays until the collector finds nothing else that needs it.

        Raises:
            NotFound: No such image.
        """
        ...
