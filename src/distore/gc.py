"""What is reachable from roots: pure, over opaque nodes; whose references they are, others know."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    Refs = Callable[[Sequence["Node"]], Iterable["Node"]]
    Edges = Callable[[Sequence["Node"]], Iterable[tuple["Node", "Node"]]]

BATCH: Final = 500  # nodes whose references are asked for together
Node = TypeVar("Node")


class Mark(Generic[Node]):
    """A marking that goes on while references are gained: what is white, grey or black.

    ``reached`` has the grey and the black ones. Whoever gains a reference meanwhile must be told by
    ``revisit``; what becomes a root, by ``add``. Then, once ``run`` has found nothing more to scan,
    everything that is reachable is in ``reached`` (and some that only was).

    Args:
        refs: What the nodes of a batch refer to; unknown ones refer to nothing.
    """

    def __init__(self, refs: Refs[Node], *, batch: int = BATCH) -> None:
        self.reached: set[Node] = set()
        self._refs = refs
        self._batch = batch
        self._grey: list[Node] = []

    def add(self, nodes: Iterable[Node]) -> None:
        """Make white ones grey."""
        for node in nodes:
            if node not in self.reached:
                self.reached.add(node)
                self._grey.append(node)

    def revisit(self, nodes: Iterable[Node]) -> None:
        """Make black ones grey: they refer to more than they did."""
        self._grey.extend(node for node in nodes if node in self.reached)

    def run(self, most: int | None = None) -> bool:
        """Scan grey nodes, ``most`` of them or all; whether none is left."""
        scanned = 0
        while self._grey and (most is None or scanned < most):
            batch = self._grey[-self._batch :]  # the last ones first: less waits meanwhile
            del self._grey[-self._batch :]
            try:
                self.add(self._refs(batch))
            except BaseException:
                self._grey.extend(batch)
                raise
            scanned += len(batch)
        return not self._grey


def reachable(roots: Iterable[Node], refs: Refs[Node], *, batch: int = BATCH) -> set[Node]:
    """Every node that a chain of references leads to, the roots among them."""
    mark = Mark(refs, batch=batch)
    for some in batches(roots, batch):
        mark.add(some)
        mark.run()
    return mark.reached


def shortest_paths(
    roots: Iterable[Node], edges: Edges[Node], wanted: Container[Node], *, count: int, batch: int = BATCH
) -> dict[Node, list[Node]]:
    """A shortest path from a root to each of the wanted nodes that one leads to, both ends included.

    Args:
        edges: The references of the nodes of a batch, as pairs of who refers and to what.
        count: How many are wanted: the search ends when so many have been found.
    """
    parents: dict[Node, Node | None] = {}
    found: list[Node] = []
    level: deque[Node] = deque()

    def meet(node: Node, parent: Node | None) -> None:
        if node not in parents:
            parents[node] = parent
            level.append(node)
            if node in wanted:
                found.append(node)

    for root in roots:
        meet(root, None)
    while level and len(found) < count:
        some = [level.popleft() for _ in range(min(batch, len(level)))]
        for parent, child in edges(some):
            meet(child, parent)
    return {node: _back(node, parents) for node in found}


def batches(items: Iterable[Node], size: int) -> Iterator[list[Node]]:
    """Lists of up to ``size`` of them, in order."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some


def _back(node: Node, parents: dict[Node, Node | None]) -> list[Node]:
    path = [node]
    while (parent := parents[path[-1]]) is not None:
        path.append(parent)
    return path[::-1]
