"""Images: the names in a store, for Python."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from distore.errors import AlreadyExists, InvalidArgument, NotFound
from distore.oci.digest import HEX_LENGTHS, Digest
from distore.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from typing import Self

    from distore.api.interrupt import Interrupt
    from distore.api.transfers import Platforms
    from distore.content.local.store import LocalStore
    from distore.errors import DistoreError
    from distore.images.check import Checked
    from distore.images.image import Image
    from distore.images.usage import Usage
    from distore.metadata.db import Metadata
    from distore.oci.descriptor import Descriptor


class Images:
    """The images of a store, by name. Iterating gives whole names, in their order.

    Any spelling finds an image: ``redis`` is ``docker.io/library/redis:latest``. Where it says so, a
    digest alone will do.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def __getitem__(self, name: str | Reference, /) -> Image:
        """About one image.

        Raises:
            NotFound: No such image.
            InvalidArgument: Not a name.
        """
        return self._metadata.images.get(self._name(name))

    def __contains__(self, name: object, /) -> bool:
        """Whether there is an image of that name."""
        if not isinstance(name, str | Reference):
            return False
        try:
            self[name]
        except (InvalidArgument, NotFound):
            return False
        return True

    def __delitem__(self, name: str | Reference, /) -> None:
        """As ``delete``."""
        self.delete(name)

    def __iter__(self) -> Iterator[str]:
        return (image.name for image in self._metadata.images.list())

    def __len__(self) -> int:
        return sum(1 for _ in self._metadata.images.list())

    def values(self) -> Generator[Image, None, None]:
        """Every image, by name."""
        yield from self._metadata.images.list()

    def list(self, *filters: str) -> Generator[Image, None, None]:
        """Every image that one of ``filters`` matches, by name, such as ``labels.team==web``.

        Raises:
            InvalidArgument: A filter does not parse.
        """
        yield from self._metadata.images.list(*filters)

    def tag(self, source: str | Reference, name: str | Reference, *, force: bool = False) -> Image:
        """Give an image another name, with the same labels.

        Args:
            source: A name, or the digest of a manifest or index of the store.
            force: The name may be taken; that image loses it, and its labels.
        Raises:
            NotFound: No such image.
            AlreadyExists: The name is taken.
        """
        text = _new_name(name)
        by_digest = _is_digest(source)
        self.target(source)  # NotFound, before there is a change that would make a database
        with ExitStack() as stack:
            if by_digest:  # nothing has to keep that, nor what is below it
                content = stack.enter_context(self._metadata.leased("tag"))
                _keep_below(content, self.target(source))
            # In one transaction, within which no collector removes anything.
            with self._metadata.content.database.transaction():
                target = self.target(source)
                labels = {} if by_digest else self[source].labels
                return self._give(text, target, labels, force=force)

    def update(self, name: str | Reference, *, labels: Mapping[str, str]) -> Image:
        """Set labels of an image, the others stay; an empty value removes one.

        Raises:
            NotFound: No such image.
            InvalidArgument: A label over 4096 bytes; nothing changed.
        """
        image = self[name]
        if not labels:
            return image
        return self._metadata.images.update(
            replace(image, labels=labels), *(f"labels.{key}" for key in labels)
        )

    def delete(self, name: str | Reference, *, sync: bool = False) -> str:
        """Forget a name, and return it in full; what nothing else needs goes with the next collection.

        Args:
            sync: Collect garbage before returning.
        Raises:
            NotFound: No such image.
            InvalidArgument: Not a name.
            Unavailable: Another collector runs; the name is forgotten.
        """
        if _is_digest(name) and name not in self:
            raise InvalidArgument(
                f"image {str(name)[:80]!a}: a digest, want a name; dist images --filter target.digest==DIGEST"
                " lists those that it has"
            )
        whole = self._name(name)
        self._metadata.images.delete(whole)
        if sync:
            self._metadata.collect()
        else:
            self._metadata.note_deletions(1)
        return whole

    def check(self, name: str | Reference, *, platforms: Platforms = None) -> Checked:
        """What of an image is there and what is missing; its ``is_complete`` says whether that will do,
        ``is_whole`` whether all of a sparse index is there, too.

        Args:
            name: A name, or the digest of a manifest or index.
            platforms: Which images of an index have to be there; else those that the store has.
        Raises:
            NotFound: No such image, or it is for none of ``platforms``.
        """
        from distore.api.transfers import chosen_platforms
        from distore.images.check import check
        from distore.images.select import Selection

        selection = Selection(platforms=chosen_platforms(platforms) or None)
        return check(self._metadata.content, self.target(name), selection)

    def usage(self, name: str | Reference) -> Usage:
        """Bytes of an image: all, shared with other images, its own. Looks at every image.

        Args:
            name: A name, or the digest of a manifest or index.
        Raises:
            NotFound: No such image.
        """
        from distore.metadata.diskusage import ImageUsages

        target = self.target(name)
        return ImageUsages(self._metadata, report=_ignore).of_target(target)

    def usages(
        self, *, report: Callable[[str, DistoreError], None] | None = None
    ) -> Generator[tuple[Image, Usage], None, None]:
        """``usage`` of every image, by name.

        Args:
            report: Told the name of an image that cannot be measured, and why; it is left out.
        """
        from distore.metadata.diskusage import ImageUsages

        found = ImageUsages(self._metadata, report=report or _ignore)
        for image in self._metadata.images.list():
            usage = found.of(image)
            if usage is not None:
                yield image, usage

    def target(self, name: str | Reference) -> Descriptor:
        """The root of an image.

        Args:
            name: A name, or the digest of a manifest or index.
        Raises:
            NotFound: No such image.
            InvalidArgument: A bad name, or the digest of something else.
        """
        if _is_digest(name):
            from distore.images.children import document_of

            return document_of(self._metadata.content, Digest(str(name)))
        return self[name].target

    def interruptible(self, interrupt: Interrupt) -> Self:
        """Itself: nothing here takes long."""
        return self

    def _give(self, name: str, target: Descriptor, labels: Mapping[str, str], *, force: bool) -> Image:
        store = self._metadata.images
        try:
            return store.create(name, target, labels=labels)
        except AlreadyExists:
            if not force:
                raise
        return store.update(replace(store.get(name), target=target, labels=labels))

    def _name(self, name: str | Reference) -> str:
        """The whole name; one that is no reference, but that an image has all the same, as it is."""
        if isinstance(name, Reference):
            return str(name)
        try:
            return str(Reference.parse(name))
        except InvalidArgument:
            with suppress(NotFound):
                return self._metadata.images.get(name).name
            raise


def _new_name(name: str | Reference) -> str:
    if _is_digest(name):
        raise InvalidArgument(f"image {str(name)[:80]!a}: a digest, want a name")
    return str(name if isinstance(name, Reference) else Reference.parse(name))


def _is_digest(name: str | Reference) -> bool:
    return isinstance(name, str) and name.partition(":")[0] in HEX_LENGTHS


def _keep_below(content: LocalStore, target: Descriptor) -> None:
    """Label the documents of what had no name yet with what they name, for the collector to see.

    Looking at the objects has the lease hold them.
    """
    from distore.images.check import check
    from distore.images.children import read_manifest
    from distore.images.gclabels import gc_labels

    checked = check(content, target)
    for digest in reversed(tuple(checked.below)):  # children first
        document = read_manifest(content, checked.objects[digest].descriptor)
        info = content.info(digest)
        added = {key: value for key, value in gc_labels(document).items() if key not in info.labels}
        if added:
            content.update(info._replace(labels=added), *(f"labels.{key}" for key in added))


def _ignore(name: str, error: DistoreError) -> None:
    """What cannot be measured counts nothing."""
