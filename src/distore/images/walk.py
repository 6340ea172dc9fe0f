"""Walk: an image as a graph, read from its root down, documents of one level in parallel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal.pool import map_unordered
from distore.errors import NotFound, ResourceExhausted
from distore.images.children import children, has_children, is_elsewhere
from distore.images.select import ALL
from distore.oci.manifest import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from distore.images.select import Selection
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import Manifest

MAX_DEPTH: Final = 8  # indexes of indexes; nobody nests more than two
MAX_OBJECTS: Final = 100_000  # of one image


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What was found below ``root``.

    ``below`` has the wanted children of each document; ``missing`` the documents that the index
    names and that are not there; ``elsewhere`` the layers that only their own URLs have.
    """

    root: Descriptor
    below: Mapping[Digest, tuple[Descriptor, ...]]
    missing: tuple[Descriptor, ...] = ()
    elsewhere: tuple[Descriptor, ...] = ()

    def documents(self) -> list[Descriptor]:
        """Every document once, children before parents: the order to write them in."""
        done: dict[Digest, Descriptor] = {}

        def visit(at: Descriptor) -> None:  # no deeper than MAX_DEPTH
            for child in self.below.get(at.digest, ()):
                if child.digest in self.below and child.digest not in done:
                    visit(child)
            done.setdefault(at.digest, at)

        if self.root.digest in self.below:
            visit(self.root)
        return list(done.values())

    def blobs(self) -> list[Descriptor]:
        """Everything that is no document, each once, in the order of the documents."""
        skipped = {child.digest for child in (*self.missing, *self.elsewhere)}
        found: dict[Digest, Descriptor] = {}
        if self.root.digest not in self.below:
            found[self.root.digest] = self.root
        for wanted in self.below.values():
            for child in wanted:
                if child.digest not in self.below and child.digest not in skipped:
                    found.setdefault(child.digest, child)
        return list(found.values())


def walk(
    root: Descriptor,
    read: Callable[[Descriptor], Manifest | Index],
    *,
    selection: Selection = ALL,
    workers: int = 1,
) -> Graph:
    """Read the documents of an image.

    With all platforms wanted a manifest that is not there makes the index sparse, which is no
    error; with chosen ones it is.

    Args:
        read: Gives the document of a descriptor that has children; called from ``workers`` threads.
    Raises:
        NotFound: ``root`` is not there, or a chosen platform.
        ResourceExhausted: Deeper than MAX_DEPTH, or more than MAX_OBJECTS.
        InvalidArgument, FailedPrecondition: As ``read``.
    """
    below: dict[Digest, tuple[Descriptor, ...]] = {}
    missing: list[Descriptor] = []
    elsewhere: dict[Digest, Descriptor] = {}
    seen = {root.digest}
    level = [root] if has_children(root) else []
    for _ in range(MAX_DEPTH):
        following: list[Descriptor] = []
        for at, document in _documents(level, read, root, workers):
            if document is None:
                if selection.platforms is not None:
                    raise NotFound(f"manifest {at.digest}: not found, though its index names it")
                missing.append(at)
                continue
            below[at.digest] = _wanted(document, at, selection)
            for child in below[at.digest]:
                if is_elsewhere(child):
                    elsewhere.setdefault(child.digest, child)
                if child.digest not in seen:
                    seen.add(child.digest)
                    following += [child] if has_children(child) else []
            if len(seen) > MAX_OBJECTS:
                raise ResourceExhausted(f"manifest {at.digest}: more than {MAX_OBJECTS} objects in one image")
        level = following
        if not level:
            break
    else:
        raise ResourceExhausted(f"manifest {root.digest}: more than {MAX_DEPTH} levels below it")
    return Graph(root=root, below=below, missing=tuple(missing), elsewhere=tuple(elsewhere.values()))


def _documents(
    level: Iterable[Descriptor],
    read: Callable[[Descriptor], Manifest | Index],
    root: Descriptor,
    workers: int,
) -> Iterator[tuple[Descriptor, Manifest | Index | None]]:
    def one(at: Descriptor) -> tuple[Descriptor, Manifest | Index | None]:
        try:
            return at, read(at)
        except NotFound:
            if at is root:
                raise
            return at, None

    items = list(level)
    if workers == 1 or len(items) <= 1:
        return map(one, items)
    return map_unordered(one, items, workers=min(workers, len(items)))


def _wanted(document: Manifest | Index, at: Descriptor, selection: Selection) -> tuple[Descriptor, ...]:
    if isinstance(document, Index):
        return selection.of(document, subject=f"index {at.digest}")
    return tuple(children(document))
