"""LeaseSuite: the contract of leases.py, one test a sentence, and of leases that end with their process.

Subclass it and give the fixtures that it declares. Nothing in the suite knows how leases are kept.
"""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import pytest

from distore import errors
from distore.leases import EXPIRE, FLAT, LeaseManager, Resource
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from subprocess import Popen

    from distore.leases import Lease

BLOB = Resource(type="content", key=Digest.of(b"blob"))
INGEST = Resource(type="ingests", key="some/ref")
IMAGE = Resource(type="images", key="docker.io/library/redis:8")
SNAPSHOT = Resource(type="snapshots/overlayfs", key="layer one")


class FullLeases(LeaseManager, Protocol):
    """What the suite runs on: a LeaseManager that also has leases with a live owner."""

    def held(self, purpose: str) -> AbstractContextManager[Lease]: ...
    def is_live(self, namespace: str, id: str) -> bool: ...
    def dead(self) -> Sequence[str]: ...


class Clock:
    """Seconds since the epoch that pass when told."""

    def __init__(self) -> None:
        self.now = 1_767_323_045.125

    def __call__(self) -> float:
        return self.now

    def text(self, seconds: float) -> str:
        """RFC 3339 of the moment so many seconds from now."""
        when = datetime.fromtimestamp(self.now, UTC) + timedelta(seconds=seconds)
        return when.isoformat().replace("+00:00", "Z")


class LeaseSuite:
    """The whole contract."""

    @pytest.fixture
    def clock(self) -> Clock:
        """What the manager has as its clock."""
        return Clock()

    @pytest.fixture
    def leases(self, clock: Clock) -> FullLeases:
        """An empty manager of the namespace ``default``."""
        raise NotImplementedError

    @pytest.fixture
    def reopen(self, leases: FullLeases) -> Callable[[], FullLeases]:
        """Another handle on the same leases, as another process has."""
        raise NotImplementedError

    @pytest.fixture
    def worker(self) -> Callable[[], tuple[str, Popen[bytes]]]:
        """Start a process that takes an owned lease, and keeps it until it dies; the lease's id."""
        raise NotImplementedError

    def test_a_new_lease_has_what_it_was_made_with(self, leases: FullLeases, clock: Clock) -> None:
        made = leases.create("work", labels={"a": "b", FLAT: "true"})

        assert (made.id, made.labels, made.owned) == ("work", {"a": "b", FLAT: "true"}, False)
        assert made.created == datetime.fromtimestamp(clock.now, UTC)
        assert leases.get("work") == made
        assert list(leases.list()) == [made]

    def test_ids_that_are_made_up_differ(self, leases: FullLeases) -> None:
        assert leases.create().id != leases.create().id

    def test_an_id_is_taken_once(self, leases: FullLeases) -> None:
        made = leases.create("work", labels={"a": "b"})

        with pytest.raises(errors.AlreadyExists, match="work"):
            leases.create("work", labels={"a": "c"})

        assert leases.get("work") == made

    @pytest.mark.parametrize("id", ["", "a\nb", "a\0b", "x" * 1025, "\ud800"])
    def test_a_bad_id_is_refused(self, leases: FullLeases, id: str) -> None:
        with pytest.raises(errors.InvalidArgument):
            leases.create(id)

        assert list(leases.list()) == []

    @pytest.mark.parametrize("id", ["x" * 1024, "4a/b c:é@sha256:1'\""])
    def test_any_printable_id_is_good(self, leases: FullLeases, id: str) -> None:
        assert leases.create(id) == leases.get(id)

    @pytest.mark.parametrize(
        "labels",
        [
            {"": "x"},
            {"k": "x" * 5000},
            {EXPIRE: "tomorrow"},
            {EXPIRE: "2026-01-02"},
            {EXPIRE: "2026-01-02T03:04:05"},
            {EXPIRE: "2026-13-02T03:04:05Z"},
        ],
    )
    def test_bad_labels_are_refused(self, leases: FullLeases, labels: dict[str, str]) -> None:
        with pytest.raises(errors.InvalidArgument):
            leases.create("work", labels=labels)

        assert list(leases.list()) == []

    def test_what_is_not_there_is_not_found_and_nothing_is_made(self, leases: FullLeases) -> None:
        with pytest.raises(errors.NotFound, match="work"):
            leases.get("work")
        with pytest.raises(errors.NotFound):
            leases.delete("work", force=True)
        with pytest.raises(errors.NotFound):
            leases.add("work", BLOB)
        with pytest.raises(errors.NotFound):
            leases.remove("work", BLOB)
        with pytest.raises(errors.NotFound):
            leases.resources("work")
        assert not leases.is_live("default", "work")
        assert (list(leases.list()), list(leases.dead())) == ([], [])

    def test_resources_come_by_type_and_key_and_once(self, leases: FullLeases) -> None:
        leases.create("work")
        leases.create("other")

        for resource in (SNAPSHOT, INGEST, IMAGE, BLOB, BLOB, INGEST):
            leases.add("work", resource)

        assert list(leases.resources("work")) == [BLOB, IMAGE, INGEST, SNAPSHOT]
        assert list(leases.resources("other")) == []

    def test_a_resource_that_is_removed_is_let_go_of(self, leases: FullLeases) -> None:
        leases.create("work")
        leases.add("work", BLOB)
        leases.add("work", INGEST)

        leases.remove("work", BLOB)
        leases.remove("work", BLOB)

        assert list(leases.resources("work")) == [INGEST]

    @pytest.mark.parametrize(
        ("type", "key"),
        [
            ("content", "latest"),
            ("content", ""),
            ("ingests", ""),
            ("ingests", "a\nb"),
            ("images", ""),
            ("images", "a\0b"),
            ("images", "x" * 4097),
            ("snapshots", "a"),
            ("snapshots/", "a"),
            ("snapshots/a/b", "a"),
            ("snapshots/overlayfs", ""),
            ("", "a"),
            ("blobs", "a"),
        ],
    )
    def test_what_no_lease_can_hold_is_refused(self, leases: FullLeases, type: str, key: str) -> None:
        leases.create("work")

        with pytest.raises(errors.InvalidArgument):
            leases.add("work", Resource(type=type, key=key))

        assert list(leases.resources("work")) == []

    def test_a_lease_that_is_deleted_takes_along_what_belonged_to_it(self, leases: FullLeases) -> None:
        leases.create("work", labels={"a": "b"})
        leases.add("work", BLOB)

        leases.delete("work")

        assert list(leases.list()) == []
        again = leases.create("work")
        assert (again.labels, list(leases.resources("work"))) == ({}, [])

    def test_filters_see_id_and_labels(self, leases: FullLeases) -> None:
        for id, labels in (("one", {"job": "a"}), ("two", {"job": "b", "x.y": "z"}), ("three", {})):
            leases.create(id, labels=labels)

        def ids(*filters: str) -> set[str]:
            return {lease.id for lease in leases.list(*filters)}

        assert ids("id==one") == {"one"}
        assert ids("labels.job") == {"one", "two"}
        assert ids("labels.job==b", "id~=/^th/") == {"two", "three"}
        assert ids('labels."x.y"==z') == ids("labels.x.y==z") == {"two"}
        assert ids("nothing") == set()
        with pytest.raises(errors.InvalidArgument):
            leases.list("id=")

    def test_another_handle_sees_it_all(self, leases: FullLeases, reopen: Callable[[], FullLeases]) -> None:
        made = leases.create("work", labels={"a": "b"})
        leases.add("work", BLOB)

        other = reopen()

        assert list(other.list()) == [made]
        assert list(other.resources("work")) == [BLOB]
        other.delete("work")
        assert list(leases.list()) == []

    def test_a_lease_ends_after_its_time_and_not_at_it(self, leases: FullLeases, clock: Clock) -> None:
        leases.create("work", labels={EXPIRE: clock.text(60)})
        leases.create("for ever")

        clock.now += 60
        assert leases.is_live("default", "work")
        assert list(leases.dead()) == []

        clock.now += 0.001
        assert not leases.is_live("default", "work")
        assert leases.is_live("default", "for ever")
        assert list(leases.dead()) == ["work"]
        assert leases.get("work").expires == datetime.fromtimestamp(clock.now - 0.001, UTC)
        leases.delete("work")

    def test_the_time_may_be_in_any_zone(self, leases: FullLeases, clock: Clock) -> None:
        leases.create("work", labels={EXPIRE: "2026-01-02T03:04:05.999999999+02:30"})

        assert leases.get("work").expires == datetime(2026, 1, 2, 0, 34, 5, 999999, tzinfo=UTC)
        assert list(leases.dead()) == ["work"]

    def test_a_held_lease_lives_as_long_as_the_block(self, leases: FullLeases) -> None:
        with leases.held("test") as lease:
            found = leases.get(lease.id)

            assert found.owned and not found.is_dead
            assert found.owner is not None
            assert found.owner.pid == os.getpid()
            assert leases.is_live("default", lease.id)
            assert list(leases.dead()) == []

        assert list(leases.list()) == []
        assert not leases.is_live("default", lease.id)

    def test_a_held_lease_ends_with_an_error_too(self, leases: FullLeases) -> None:
        with pytest.raises(ZeroDivisionError), leases.held("test"):
            _ = 1 / 0

        assert list(leases.list()) == []

    def test_held_leases_do_not_disturb_each_other(self, leases: FullLeases) -> None:
        with leases.held("outer") as outer, leases.held("outer") as inner:
            leases.add(inner.id, BLOB)

            assert outer.id != inner.id
            assert list(leases.resources(outer.id)) == []
            assert {lease.id for lease in leases.list()} == {outer.id, inner.id}

    def test_a_lease_whose_owner_lives_is_not_deleted_by_others(
        self, leases: FullLeases, reopen: Callable[[], FullLeases]
    ) -> None:
        with leases.held("test") as lease:
            with pytest.raises(errors.FailedPrecondition, match=rf"{lease.id}.*pid {os.getpid()} "):
                reopen().delete(lease.id)
            assert leases.is_live("default", lease.id)

            reopen().delete(lease.id, force=True)

            assert not leases.is_live("default", lease.id)
        assert list(leases.list()) == []

    @pytest.mark.slow
    def test_a_lease_dies_with_its_process(
        self, leases: FullLeases, worker: Callable[[], tuple[str, Popen[bytes]]]
    ) -> None:
        id, process = worker()
        before = leases.get(id)
        was_live = leases.is_live("default", id)

        process.send_signal(signal.SIGKILL)
        process.wait()

        assert before.owner is not None and before.owner.pid == process.pid
        assert was_live and not leases.is_live("default", id)
        assert leases.get(id).is_dead
        assert list(leases.dead()) == [id]
        leases.delete(id)
        assert list(leases.list()) == []
