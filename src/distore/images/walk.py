"""Walk: an image as a graph, read from its root down, documents of one level in parallel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

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

T = TypeVar("T")
R = TypeVar("R")

MAX_DEPTH: Final = 8  # indexes of indexes; nobody nests more than two
MAX_OBJECTS: Final = 100_000  # of one image


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What was found below ``root``.

    ``below`` has the wanted children of each document; ``missing`` the documents that the index
    names and that are not there; ``elsewhere`` the layers that only their own URLs have;
    ``referrers`` what refers to each document, when that was asked for.
    """

    root: Descriptor
    below: Mapping[Digest, tuple[Descriptor, ...]]
    missing: tuple[Descriptor, ...] = ()
    elsewhere: tuple[Descriptor, ...] = ()
    referrers: Mapping[Digest, tuple[Descriptor, ...]] = field(default_factory=dict)

    def documents(self) -> list[Descriptor]:
        """Every document once, children before parents and the root at the very end: the order to
        write them in."""
        done: dict[Digest, Descriptor] = {}

        def visit(at: Descriptor) -> None:
            # No recursion: a chain may be long where no level is deep, its links named by the root, too.
            path = [(at, iter(self.below.get(at.digest, ())))]
            while path:
                at, waiting = path[-1]
                child = next(waiting, None)
                if child is None:
                    path.pop()
                    done.setdefault(at.digest, at)
                elif child.digest in self.below and child.digest not in done:
                    path.append((child, iter(self.below[child.digest])))

        for found in self.referrers.values():
            for referrer in found:
                if referrer.digest in self.below and referrer.digest not in done:
                    visit(referrer)
        if self.root.digest in self.below:
            visit(self.root)
        return list(done.values())

    def blobs(self) -> list[Descriptor]:
        """Everything that is no document, each once, in the order of the documents."""
        skipped = {child.digest for child in self.missing}
        found: dict[Digest, Descriptor] = {}
        if self.root.digest not in self.below:
            found[self.root.digest] = self.root
        for wanted in self.below.values():
            for child in wanted:
                # What one manifest calls foreign may be an ordinary layer of another.
                if child.digest not in self.below and child.digest not in skipped and not is_elsewhere(child):
                    found.setdefault(child.digest, child)
        return list(found.values())


def walk(
    root: Descriptor,
    read: Callable[[Descriptor], Manifest | Index],
    *,
    selection: Selection = ALL,
    workers: int = 1,
    referrers: Callable[[Digest], Iterable[Descriptor]] | None = None,
    stop: Callable[[], None] = lambda: None,
) -> Graph:
    """Read the documents of an image.

    With all platforms wanted a manifest that is not there makes the index sparse, which is no
    error; with chosen ones it is.

    Args:
        read: Gives the document of a descriptor that has children; called from ``workers`` threads.
        referrers: Gives what refers to a document; None: nobody wants to know.
        stop: Makes calls of ``read`` in other threads end soon, when the walk ends early.
    Raises:
        NotFound: ``root`` is not there, or a chosen platform.
        ResourceExhausted: Deeper than MAX_DEPTH, or more than MAX_OBJECTS.
        InvalidArgument, FailedPrecondition: As ``read``.
    """
    state = _Walk(read, selection, workers, stop)
    state.descend(root)
    if referrers is not None:
        state.refer(referrers)
    return Graph(
        root=root,
        below=state.below,
        missing=tuple(state.missing),
        elsewhere=tuple(state.elsewhere.values()),
        referrers=state.referrers,
    )


class _Walk:
    """What was found so far."""

    def __init__(
        self,
        read: Callable[[Descriptor], Manifest | Index],
        selection: Selection,
        workers: int,
        stop: Callable[[], None],
    ) -> None:
        self._read = read
        self._selection = selection
        self._workers = workers
        self._stop = stop
        self._seen: set[Digest] = set()
        self._planned: set[Digest] = set()  # documents; what is a layer to one may be that to another
        self.below: dict[Digest, tuple[Descriptor, ...]] = {}
        self.missing: list[Descriptor] = []
        self.elsewhere: dict[Digest, Descriptor] = {}
        self.referrers: dict[Digest, tuple[Descriptor, ...]] = {}

    def descend(self, root: Descriptor) -> None:
        """Read ``root`` and what is wanted below it, level by level."""
        self._seen.add(root.digest)
        self._planned.add(root.digest)
        level = [root] if has_children(root) else []
        for _ in range(MAX_DEPTH):
            following: list[Descriptor] = []
            for at, document in self._documents(level, root):
                if document is None:
                    self._lacking(at)
                    continue
                following += self._found(at, document)
            level = following
            if not level:
                return
        raise ResourceExhausted(f"manifest {root.digest}: more than {MAX_DEPTH} levels below it")

    def refer(self, list_of: Callable[[Digest], Iterable[Descriptor]]) -> None:
        """Read what refers to the documents, and what refers to that."""
        asked: set[Digest] = set()
        for _ in range(MAX_DEPTH):
            subjects = [digest for digest in self.below if digest not in asked]
            if not subjects:
                return
            asked.update(subjects)

            def one(subject: Digest) -> tuple[Digest, tuple[Descriptor, ...]]:
                return subject, tuple(list_of(subject))

            for subject, found in list(self._each(one, subjects)):
                wanted = tuple(each for each in found if has_children(each))
                if wanted:
                    self.referrers[subject] = wanted
                for referrer in wanted:
                    if referrer.digest not in self._planned:
                        self.descend(referrer)

    def _lacking(self, at: Descriptor) -> None:
        if self._selection.platforms is not None:
            raise NotFound(f"manifest {at.digest}: not found, though its index names it")
        self.missing.append(at)

    def _found(self, at: Descriptor, document: Manifest | Index) -> list[Descriptor]:
        """The documents below one that were not met before."""
        following = []
        self.below[at.digest] = wanted = self._wanted(document, at)
        for child in wanted:
            if is_elsewhere(child):
                self.elsewhere.setdefault(child.digest, child)
            self._seen.add(child.digest)
            if has_children(child) and child.digest not in self._planned:
                self._planned.add(child.digest)
                following.append(child)
        if len(self._seen) > MAX_OBJECTS:
            raise ResourceExhausted(f"manifest {at.digest}: more than {MAX_OBJECTS} objects in one image")
        return following

    def _documents(
        self, level: list[Descriptor], root: Descriptor
    ) -> Iterator[tuple[Descriptor, Manifest | Index | None]]:
        def one(at: Descriptor) -> tuple[Descriptor, Manifest | Index | None]:
            try:
                return at, self._read(at)
            except NotFound:
                if at is root:
                    raise
                return at, None

        return self._each(one, level)

    def _each(self, work: Callable[[T], R], items: list[T]) -> Iterator[R]:
        if self._workers == 1 or len(items) <= 1:
            return map(work, items)
        return map_unordered(work, items, workers=min(self._workers, len(items)), stop=self._stop)

    def _wanted(self, document: Manifest | Index, at: Descriptor) -> tuple[Descriptor, ...]:
        if isinstance(document, Index):
            return self._selection.of(document, subject=f"index {at.digest}")
        return tuple(children(document))
