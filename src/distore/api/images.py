"""Images: the names in a store, for Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.errors import InvalidArgument, NotFound
from distore.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Self

    from distore.api.interrupt import Interrupt
    from distore.images.image import Image, ImageStore


class Images:
    """The images of a store, by name. Iterating gives whole names, in their order.

    Any spelling finds an image: ``redis`` is ``docker.io/library/redis:latest``.
    """

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def __getitem__(self, name: str | Reference, /) -> Image:
        """About one image.

        Raises:
            NotFound: No such image.
            InvalidArgument: Not a name.
        """
        return self._store.get(_name(name))

    def __contains__(self, name: object, /) -> bool:
        """Whether there is an image of that name."""
        if not isinstance(name, str | Reference):
            return False
        try:
            self._store.get(_name(name))
        except (InvalidArgument, NotFound):
            return False
        return True

    def __delitem__(self, name: str | Reference, /) -> None:
        """Forget a name; the content stays.

        Raises:
            NotFound: No such image.
            InvalidArgument: Not a name.
        """
        self._store.delete(_name(name))

    def __iter__(self) -> Iterator[str]:
        return (image.name for image in self._store.list())

    def __len__(self) -> int:
        return sum(1 for _ in self._store.list())

    def values(self) -> Generator[Image, None, None]:
        """Every image, by name."""
        yield from self._store.list()

    def interruptible(self, interrupt: Interrupt) -> Self:
        """Itself: nothing here takes long."""
        return self


def _name(name: str | Reference) -> str:
    return str(name if isinstance(name, Reference) else Reference.parse(name))
