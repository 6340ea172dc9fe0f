"""The pure half of the collector."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.gc import Mark, reachable, shortest_paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Graph = dict[int, list[int]]
GRAPHS = st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 14), max_size=4), max_size=13)


def refs_of(graph: Graph, batch: Sequence[int]) -> Iterator[int]:
    for node in batch:
        yield from graph.get(node, [])


def naive(graph: Graph, roots: set[int]) -> set[int]:
    reached, before = set(roots), set[int]()
    while reached != before:
        before = set(reached)
        reached |= set(refs_of(graph, list(before)))
    return reached


@given(graph=GRAPHS, roots=st.sets(st.integers(0, 12), max_size=4), batch=st.integers(1, 5))
def test_exactly_what_references_lead_to_is_reachable(graph: Graph, roots: set[int], batch: int) -> None:
    found = reachable(roots, lambda some: refs_of(graph, some), batch=batch)

    assert found == naive(graph, roots)


@given(
    graph=GRAPHS,
    roots=st.sets(st.integers(0, 12), max_size=3),
    edge=st.tuples(st.integers(0, 12), st.integers(0, 14)),
)
def test_what_gains_a_reference_while_marking_is_looked_at_again(
    graph: Graph, roots: set[int], edge: tuple[int, int]
) -> None:
    graph = {node: list(children) for node, children in graph.items()}
    mark = Mark[int](lambda some: refs_of(graph, some), batch=1)
    mark.add(roots)
    mark.run(2)

    graph.setdefault(edge[0], []).append(edge[1])
    mark.revisit([edge[0]])

    assert mark.run()
    assert mark.reached == naive(graph, roots)


@given(graph=GRAPHS, roots=st.sets(st.integers(0, 12), max_size=3))
def test_a_path_leads_from_a_root_along_references_and_none_is_shorter(graph: Graph, roots: set[int]) -> None:
    def edges(some: Sequence[int]) -> Iterator[tuple[int, int]]:
        return ((node, child) for node in some for child in graph.get(node, []))

    paths = shortest_paths(roots, edges, set(range(15)), count=15, batch=2)

    assert set(paths) == naive(graph, roots)
    for node, path in paths.items():
        assert path[0] in roots
        assert path[-1] == node
        assert all(after in graph[before] for before, after in pairwise(path))
        layer, steps = set(roots), 1
        while node not in layer:
            layer, steps = layer | set(refs_of(graph, list(layer))), steps + 1
        assert len(path) == steps


def test_a_scan_that_fails_loses_no_grey_node() -> None:
    graph = {1: [2], 2: [3]}
    fails = [True]

    def refs(some: Sequence[int]) -> list[int]:
        if fails.pop():
            raise OSError
        fails.append(False)
        return list(refs_of(graph, some))

    mark = Mark[int](refs)
    mark.add([1])
    with pytest.raises(OSError):
        mark.run()

    fails.append(False)
    assert mark.run()
    assert mark.reached == {1, 2, 3}


def test_references_are_asked_for_in_batches() -> None:
    sizes: list[int] = []

    def refs(some: Sequence[int]) -> list[int]:
        sizes.append(len(some))
        return [2 * node + side for node in some for side in (1, 2) if node < 2000]

    found = reachable([0], refs, batch=64)

    assert len(found) == 4001 - 0
    assert max(sizes) <= 64
    assert len(sizes) < len(found) / 8


def test_the_order_of_roots_and_references_does_not_matter() -> None:
    chance = random.Random(7)
    graph = {node: [chance.randrange(300) for _ in range(3)] for node in range(200)}
    roots = list(range(0, 200, 23))

    one = reachable(roots, lambda some: refs_of(graph, some))
    other = reachable(roots[::-1], lambda some: reversed(list(refs_of(graph, some))), batch=3)

    assert one == other == naive(graph, set(roots))
