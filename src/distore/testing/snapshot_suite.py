"""SnapshotSuite: the contract of snapshots/snapshotter.py, one test a sentence.

Subclass it and give the fixtures that it declares. Nothing in the suite knows how snapshots are kept.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from distore import errors
from distore.content.store import MAX_LABEL_SIZE
from distore.snapshots.snapshotter import Kind, Snapshotter, Stacked, Usage
from distore.testing.snapshot_contents import SnapshotContents, commit, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.testing.snapshot_contents import Show

BAD_KEYS = ("", "a\nb", "x" * 5000, "nul\0")


class SnapshotSuite(SnapshotContents):
    """The whole contract."""

    @pytest.fixture
    def reopen(self) -> Callable[[], Snapshotter]:
        """The same snapshots through another handle."""
        raise NotImplementedError

    @pytest.fixture
    def other(self) -> Snapshotter:
        """Those of the same driver in another namespace."""
        raise NotImplementedError

    @pytest.fixture
    def leased(self) -> tuple[Snapshotter, Callable[[], set[str]]]:
        """The same snapshots under a lease, and what the lease holds of them."""
        raise NotImplementedError

    @pytest.fixture
    def race(self) -> Callable[[str, int], list[str]]:
        """Has so many processes do ``prepare``, ``commit`` or ``remove`` of one key at once; the names of
        the errors, or ``ok``."""
        raise NotImplementedError

    # Life

    def test_a_snapshot_is_prepared_committed_and_removed(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("key")
        assert snapshots.stat("key").kind == Kind.ACTIVE

        snapshots.commit("name", "key")

        assert snapshots.stat("name").kind == Kind.COMMITTED
        snapshots.remove("name")
        assert list(snapshots.walk()) == []

    def test_the_key_is_gone_when_it_is_committed(self, snapshots: Snapshotter) -> None:
        commit(snapshots, "name", "key")

        with pytest.raises(errors.NotFound, match="key"):
            snapshots.stat("key")
        snapshots.prepare("key")

    def test_another_handle_sees_the_same(
        self, snapshots: Snapshotter, reopen: Callable[[], Snapshotter]
    ) -> None:
        commit(snapshots, "a", "x", labels={"l": "1"})
        snapshots.prepare("b", "a")

        again = reopen()

        assert list(again.walk()) == list(snapshots.walk())
        assert again.stat("a") == snapshots.stat("a")
        assert again.mounts("b") == snapshots.mounts("b")

    def test_another_namespace_has_its_own(self, snapshots: Snapshotter, other: Snapshotter) -> None:
        commit(snapshots, "a", "x")

        assert list(other.walk()) == []
        with pytest.raises(errors.NotFound):
            other.prepare("b", "a")
        commit(other, "a", "x")
        other.remove("a")
        assert snapshots.stat("a").name == "a"

    def test_the_name_is_that_of_the_driver(self, snapshots: Snapshotter) -> None:
        assert snapshots.name in ("overlayfs", "native")

    # Keys, names and parents

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_a_bad_key_is_refused(self, snapshots: Snapshotter, key: str) -> None:
        snapshots.prepare("good")

        with pytest.raises(errors.InvalidArgument):
            snapshots.prepare(key)
        with pytest.raises(errors.InvalidArgument):
            snapshots.view(key)
        with pytest.raises(errors.InvalidArgument):
            snapshots.commit(key, "good")
        assert [one.name for one in snapshots.walk()] == ["good"]

    def test_a_key_that_is_taken_is_refused(self, snapshots: Snapshotter) -> None:
        commit(snapshots, "name", "x")
        snapshots.prepare("active")
        snapshots.view("view")

        for taken in ("name", "active", "view"):
            for make in (snapshots.prepare, snapshots.view):
                with pytest.raises(errors.AlreadyExists) as caught:
                    make(taken)
                assert caught.value.subject == taken

    def test_a_name_that_is_taken_is_refused_and_the_active_snapshot_stays(
        self, snapshots: Snapshotter
    ) -> None:
        commit(snapshots, "name", "x")
        snapshots.prepare("active")
        snapshots.prepare("key")

        for taken in ("name", "active", "key"):
            with pytest.raises(errors.AlreadyExists):
                snapshots.commit(taken, "key")

        assert snapshots.stat("key").kind == Kind.ACTIVE
        snapshots.commit("free", "key")

    def test_a_parent_must_be_there(self, snapshots: Snapshotter) -> None:
        for make in (snapshots.prepare, snapshots.view):
            with pytest.raises(errors.NotFound, match="none"):
                make("key", "none")
        assert list(snapshots.walk()) == []

    def test_a_parent_must_be_committed(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("active")
        snapshots.view("view")

        for parent in ("active", "view"):
            for make in (snapshots.prepare, snapshots.view):
                with pytest.raises(errors.FailedPrecondition, match=f"{parent}: is {parent}"):
                    make("key", parent)

    def test_only_an_active_snapshot_is_committed(self, snapshots: Snapshotter) -> None:
        commit(snapshots, "name", "x")
        snapshots.view("view")

        for key in ("name", "view"):
            with pytest.raises(errors.FailedPrecondition, match="not active"):
                snapshots.commit("new", key)
        with pytest.raises(errors.NotFound):
            snapshots.commit("new", "none")

    def test_what_is_not_there_is_not_found(self, snapshots: Snapshotter) -> None:
        calls: list[Callable[[str], Any]] = [
            snapshots.stat,
            snapshots.usage,
            snapshots.mounts,
            snapshots.remove,
        ]
        if isinstance(snapshots, Stacked):
            calls += [snapshots.upper, snapshots.layers]
        for call in calls:
            with pytest.raises(errors.NotFound, match="none"):
                call("none")

    def test_a_committed_snapshot_has_no_mounts(self, snapshots: Snapshotter) -> None:
        commit(snapshots, "name", "x")

        with pytest.raises(errors.FailedPrecondition, match="committed"):
            snapshots.mounts("name")

    def test_info_tells_the_parent_and_the_times(self, snapshots: Snapshotter) -> None:
        commit(snapshots, "a", "x")
        snapshots.prepare("b", "a")

        info = snapshots.stat("b")

        assert (info.parent, snapshots.stat("a").parent) == ("a", None)
        assert info.created == info.updated
        assert info.created.tzinfo is not None
        assert snapshots.stat("a").created <= info.created

    # Removal

    def test_a_snapshot_that_another_one_lies_on_stays(self, snapshots: Snapshotter) -> None:
        commit(snapshots, "a", "x")
        snapshots.prepare("b", "a")

        with pytest.raises(errors.FailedPrecondition, match="b lies on it"):
            snapshots.remove("a")

        snapshots.remove("b")
        snapshots.remove("a")

    def test_removal_takes_the_labels_along(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("key", labels={"a": "b"})
        snapshots.remove("key")

        snapshots.prepare("key")

        assert snapshots.stat("key").labels == {}

    # Labels

    def test_labels_are_kept_and_those_of_a_key_do_not_carry_over(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("key", labels={"of the": "key"})
        assert snapshots.stat("key").labels == {"of the": "key"}

        snapshots.commit("name", "key", labels={"of the": "name"})

        assert snapshots.stat("name").labels == {"of the": "name"}

    def test_a_label_that_is_too_long_is_refused(self, snapshots: Snapshotter) -> None:
        long = {"key": "v" * MAX_LABEL_SIZE}
        snapshots.prepare("good")

        for call in (
            lambda: snapshots.prepare("bad", labels=long),
            lambda: snapshots.view("bad", labels=long),
            lambda: snapshots.commit("bad", "good", labels=long),
            lambda: snapshots.update(replace(snapshots.stat("good"), labels=long)),
        ):
            with pytest.raises(errors.InvalidArgument, match="label"):
                call()

        assert [(one.name, one.labels) for one in snapshots.walk()] == [("good", {})]

    def test_an_update_without_a_path_replaces_all_labels(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("key", labels={"a": "1", "b": "2"})
        before = snapshots.stat("key")

        after = snapshots.update(replace(before, labels={"c": "3"}))

        assert after == snapshots.stat("key")
        assert after.labels == {"c": "3"}
        assert after.updated >= before.updated
        assert after.created == before.created

    def test_an_update_of_one_label_leaves_the_others(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("key", labels={"a": "1", "b.c": "2", "d": "3"})
        info = replace(snapshots.stat("key"), labels={"b.c": "4", "d": "5"})

        assert snapshots.update(info, "labels.b.c").labels == {"a": "1", "b.c": "4", "d": "3"}
        assert snapshots.update(replace(info, labels={}), "labels.a").labels == {"b.c": "4", "d": "3"}

    @pytest.mark.parametrize("path", ["kind", "parent", "labels.", "name", ""])
    def test_other_paths_are_refused(self, snapshots: Snapshotter, path: str) -> None:
        snapshots.prepare("key", labels={"a": "1"})

        with pytest.raises(errors.InvalidArgument, match="field path"):
            snapshots.update(replace(snapshots.stat("key"), labels={}), path)

        assert snapshots.stat("key").labels == {"a": "1"}

    def test_an_update_of_what_is_not_there_is_refused(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("key")

        with pytest.raises(errors.NotFound):
            snapshots.update(replace(snapshots.stat("key"), name="none"))

    # Walks

    def test_a_walk_gives_all_by_name(self, snapshots: Snapshotter) -> None:
        for name in ("b", "c", "a"):
            commit(snapshots, name, "x", labels={"l1": name, "l2": ""})

        found = list(snapshots.walk())

        assert [one.name for one in found] == ["a", "b", "c"]
        assert found == [snapshots.stat(one.name) for one in found]

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            (("name==a",), ["a"]),
            (("parent==a",), ["b", "v"]),
            (("kind==committed",), ["a"]),
            (("kind==view",), ["v"]),
            (("kind==active",), ["b"]),
            (("labels.x==1",), ["a"]),
            (('labels."x.y"==2',), ["b"]),
            (("name==a", "kind==view"), ["a", "v"]),
            (("parent==a,kind==active",), ["b"]),
            (("labels.none",), []),
        ],
    )
    def test_a_walk_gives_what_a_filter_matches(
        self, snapshots: Snapshotter, filters: tuple[str, ...], found: list[str]
    ) -> None:
        commit(snapshots, "a", "x", labels={"x": "1"})
        snapshots.prepare("b", "a", labels={"x.y": "2"})
        snapshots.view("v", "a")

        assert [one.name for one in snapshots.walk(*filters)] == found

    def test_a_bad_filter_is_refused_at_the_call(self, snapshots: Snapshotter) -> None:
        with pytest.raises(errors.InvalidArgument):
            snapshots.walk("name==")

    # Usage

    def test_usage_counts_what_the_snapshot_itself_has(self, snapshots: Snapshotter, show: Show) -> None:
        snapshots.prepare("key")
        empty = snapshots.usage("key")

        fill(snapshots, "key", show, {"file": b"x" * 100_000, "folder/inner": b"y"})

        used = snapshots.usage("key")
        assert used.inodes == empty.inodes + 3
        assert used.size >= empty.size + 100_000

    def test_usage_of_a_committed_snapshot_is_what_was_counted(
        self, snapshots: Snapshotter, show: Show
    ) -> None:
        snapshots.prepare("key")
        fill(snapshots, "key", show, {"file": b"x" * 100_000})
        os.sync()
        used = snapshots.usage("key")

        snapshots.commit("name", "key")

        assert snapshots.usage("name") == used

    def test_a_file_with_two_names_counts_once(self, snapshots: Snapshotter, show: Show) -> None:
        with show(snapshots.prepare("key")) as folder:
            before = snapshots.usage("key")
            (folder / "a").write_bytes(b"x" * 4096)
            os.link(folder / "a", folder / "b")
            os.sync()

            assert snapshots.usage("key").inodes == before.inodes + 1

    # Leases

    def test_a_lease_holds_what_is_made_and_looked_up(
        self, snapshots: Snapshotter, leased: tuple[Snapshotter, Callable[[], set[str]]]
    ) -> None:
        commit(snapshots, "a", "x")
        commit(snapshots, "b", "x")
        view, held = leased

        view.prepare("key", "a")
        assert held() == {"key", "a"}
        view.commit("name", "key")
        assert held() == {"key", "a", "name"}
        view.stat("b")
        assert held() == {"key", "a", "name", "b"}

    def test_a_lease_holds_even_what_is_not_there(
        self, leased: tuple[Snapshotter, Callable[[], set[str]]]
    ) -> None:
        view, held = leased

        with pytest.raises(errors.NotFound):
            view.stat("none")

        assert held() == {"none"}

    # Others at work

    @pytest.mark.slow
    def test_of_processes_that_prepare_one_key_one_gets_it(
        self, snapshots: Snapshotter, race: Callable[[str, int], list[str]]
    ) -> None:
        outcomes = race("prepare", 6)

        assert sorted(outcomes) == ["AlreadyExists"] * 5 + ["ok"]
        assert [one.name for one in snapshots.walk()] == ["key"]
        assert snapshots.cleanup() == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("act", ["commit", "remove"])
    def test_of_processes_that_end_one_key_one_does(
        self, snapshots: Snapshotter, race: Callable[[str, int], list[str]], act: str
    ) -> None:
        snapshots.prepare("key")

        outcomes = race(act, 6)

        assert outcomes.count("ok") == 1
        assert set(outcomes) <= {"ok", "NotFound", "AlreadyExists"}
        assert [one.name for one in snapshots.walk()] == (["name"] if act == "commit" else [])

    def test_cleanup_of_what_is_clean_frees_nothing(self, snapshots: Snapshotter) -> None:
        assert snapshots.cleanup() == 0
        commit(snapshots, "a", "x")
        snapshots.prepare("b", "a")
        used = snapshots.usage("a")

        assert snapshots.cleanup() == 0

        assert snapshots.usage("a") == used
        assert isinstance(snapshots.usage("b"), Usage)
