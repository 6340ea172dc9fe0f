"""The collector against the slow definition of what it keeps, also while others change the store."""

from __future__ import annotations

import functools
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.gc_world import (
    DIGEST,
    LABEL,
    NAME,
    NOW,
    RESOURCE,
    SPACE,
    World,
    is_live,
    lay,
    read,
    worlds,
)

from distore.content.local.store import LocalStore
from distore.gc import Mark
from distore.metadata import collector as collecting
from distore.metadata import sweep
from distore.metadata.collector import Collector
from distore.metadata.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Change = tuple[str, str, str, str, tuple[str, str], tuple[str, str]]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(
            ["tag", "untag", "label", "unlabel", "hold", "let go", "image label", "prolong", "wait"]
        ),
        SPACE,
        DIGEST,
        NAME,
        LABEL,
        RESOURCE,
    ),
    max_size=6,
)


def opened(root: str, *, sleep: Callable[[float], None] = lambda _seconds: None) -> LocalStore:
    return LocalStore(root, now=lambda: NOW, sleep=sleep)


def make_collector(store: LocalStore) -> Collector:
    return Collector(store, lease_is_live=is_live, now=lambda: NOW)


def check_quiet(before: World, after: World) -> None:
    """What a pass that nobody disturbed leaves."""
    kept, blobs = before.kept(), before.reachable()
    assert after.seen() == before.seen() & blobs
    assert after.files == {digest for _, digest in after.seen()}
    # Rows of bytes that are not there stay as long as something leads to them.
    assert after.rows <= before.rows & blobs
    assert set(after.content_labels) == {
        pair for pair, labels in before.content_labels.items() if labels and pair in blobs
    }
    assert set(after.images) == {
        image
        for image in before.images
        if image not in before.expired_images() or {("image", *image), ("image!", *image)} & kept
    }
    assert set(after.leases) == before.live_leases()
    assert set(after.resources) <= set(after.leases)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(world=worlds())
def test_a_pass_keeps_exactly_what_the_definition_keeps(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = opened(f"{folder}/s")
        lay(world, store)
        foreseen = {
            (each.kind, each.namespace, each.key) for each in make_collector(store).collect(dry_run=True)
        }
        untouched = read(store)

        removed = {(each.kind, each.namespace, each.key) for each in make_collector(store).collect()}

        after = read(store)
        store.close()
    assert untouched == World(**{**vars(world), **_plain(world)})
    assert removed == foreseen
    check_quiet(world, after)


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(world=worlds(), changes=CHANGES, gaps=st.lists(st.integers(0, 6), min_size=6, max_size=6))
def test_whatever_changes_meanwhile_nothing_that_is_reachable_at_the_time_goes(
    world: World, changes: list[Change], gaps: list[int]
) -> None:
    left = [pair for change, gap in zip(changes, gaps, strict=False) for pair in [None] * gap + [change]]
    moment = [read_nothing()]

    def between(_seconds: float = 0.0) -> None:
        if store.database._connection is not None and store.database._connection.in_transaction:
            return
        lost = moment[0] - read(store).seen()
        assert not lost
        if left and (change := left.pop(0)) is not None:
            apply(store, change)
        now = read(store)
        moment[0] = now.seen() & now.reachable()

    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        store = opened(f"{folder}/s", sleep=between)
        lay(world, store)
        edges = Graph.edges

        def slowly(graph: Graph, nodes: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
            found = list(edges(graph, nodes))
            between()
            yield from found

        for target, name, value in (
            (Graph, "edges", slowly),
            (collecting, "Mark", functools.partial(Mark, batch=1)),
            (collecting, "_ROOTS_AT_ONCE", 1),
            (sweep, "_MOST", 1),
        ):
            patches.enter_context(mock.patch.object(target, name, value))
        for _ in make_collector(store).collect():
            between()
        between()
        patches.close()
        left.clear()

        before = read(store)
        for _ in make_collector(store).collect():
            pass
        after = read(store)
        assert store.database.query("SELECT * FROM gc_run") == []
        assert store.database.query("SELECT * FROM gc_touched") == []
        store.close()
    check_quiet(before, after)


def read_nothing() -> set[tuple[str, str]]:
    return set()


def _plain(world: World) -> dict[str, object]:
    """As the tables have it: nothing is not there."""
    return {
        "content_labels": {key: labels for key, labels in world.content_labels.items() if labels},
        "image_labels": {key: labels for key, labels in world.image_labels.items() if labels},
        "resources": {key: held for key, held in world.resources.items() if held},
    }


def apply(store: LocalStore, change: Change) -> None:
    """One change as a program makes it, through SQL so that any state can be reached."""
    what, space, digest, name, label, resource = change
    with store.database.transaction(durable=False) as connection:
        do = connection.execute
        if what == "tag":
            row = (space, name, "x", digest, 1, None, 1, 1)
            do(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET digest = excluded.digest",
                row,
            )
        elif what == "untag":
            do("DELETE FROM image_labels WHERE namespace = ? AND name = ?", (space, name))
            do("DELETE FROM images WHERE namespace = ? AND name = ?", (space, name))
        elif what == "label":
            do("INSERT OR REPLACE INTO content_labels VALUES (?, ?, ?, ?)", (space, digest, *label))
        elif what == "unlabel":
            do("DELETE FROM content_labels WHERE namespace = ? AND digest = ?", (space, digest))
        elif what == "image label":
            if do("SELECT 1 FROM images WHERE namespace = ? AND name = ?", (space, name)).fetchone():
                do("INSERT OR REPLACE INTO image_labels VALUES (?, ?, ?, ?)", (space, name, *label))
        elif what == "hold":
            do(
                "INSERT OR IGNORE INTO lease_resources SELECT namespace, id, ?, ? FROM leases"
                " WHERE namespace = ?",
                (*resource, space),
            )
        elif what == "let go":
            do("DELETE FROM lease_resources WHERE namespace = ?", (space,))
        elif what == "prolong":
            do("DELETE FROM lease_labels WHERE namespace = ?", (space,))
