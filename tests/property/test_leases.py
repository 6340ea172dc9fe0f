"""Any sequence of operations on leases, against a model of plain dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from distore.content.local.store import LocalStore
from distore.errors import AlreadyExists, FailedPrecondition, NotFound
from distore.leases import EXPIRE, Resource, parse_expire
from distore.metadata.db import Metadata
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from distore.leases import Lease
    from distore.metadata.leases import Leases

IDS = st.sampled_from(["a", "b", "a/b"])
RESOURCES = st.sampled_from(
    [
        Resource(type="content", key=Digest.of(b"1")),
        Resource(type="content", key=Digest.of(b"2")),
        Resource(type="ingests", key="a"),
        Resource(type="images", key="a"),
        Resource(type="snapshots/overlayfs", key="a"),
    ]
)
NAMESPACES = ("default", "other")
WHERE = st.sampled_from(NAMESPACES)
START = 1_767_323_045


class LeaseMachine(RuleBasedStateMachine):
    """Two namespaces, a clock, and leases that are held by this process."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.now = START
        self.model: dict[tuple[str, str], tuple[int | None, set[Resource]]] = {}
        self.held: dict[tuple[str, str], AbstractContextManager[Lease]] = {}
        self.store = LocalStore(self.folder)
        self.leases: dict[str, Leases] = {
            name: Metadata(self.store.view(namespace=name), command="test", now=lambda: self.now).leases
            for name in NAMESPACES
        }

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for held in self.held.values():
                held.__exit__(None, None, None)
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(where=WHERE, id=IDS, expires=st.none() | st.integers(0, 5))
    def create(self, where: str, id: str, expires: int | None) -> None:
        end = None if expires is None else self.now + expires
        text = datetime.fromtimestamp(end or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        labels = {} if end is None else {EXPIRE: text}
        if (where, id) in self.model:
            with pytest.raises(AlreadyExists):
                self.leases[where].create(id, labels=labels)
            return
        self.leases[where].create(id, labels=labels)
        self.model[where, id] = (end, set())

    @rule(where=WHERE)
    def hold(self, where: str) -> None:
        held = self.leases[where].held("test")
        key = (where, held.__enter__().id)
        self.held[key] = held
        self.model[key] = (None, set())

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: Any) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.held.pop(key).__exit__(None, None, None)
        self.model.pop(key, None)

    @rule(where=WHERE, data=st.data(), force=st.booleans())
    def delete(self, where: str, data: Any, force: bool) -> None:
        key = (where, data.draw(self.ids(where)))
        if key not in self.model:
            with pytest.raises(NotFound):
                self.leases[where].delete(key[1], force=force)
        elif key in self.held and not force:
            with pytest.raises(FailedPrecondition):
                self.leases[where].delete(key[1])
        else:
            self.leases[where].delete(key[1], force=force)
            del self.model[key]

    @rule(where=WHERE, data=st.data(), resource=RESOURCES, add=st.booleans())
    def change(self, where: str, data: Any, resource: Resource, add: bool) -> None:
        key = (where, data.draw(self.ids(where)))
        act = self.leases[where].add if add else self.leases[where].remove
        if key not in self.model:
            with pytest.raises(NotFound):
                act(key[1], resource)
            return
        act(key[1], resource)
        resources = self.model[key][1]
        resources.add(resource) if add else resources.discard(resource)

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        self.leases["default"].sweep_locks()

    @invariant()
    def the_model_is_right(self) -> None:
        for where, leases in self.leases.items():
            mine = {id: value for (of, id), value in self.model.items() if of == where}
            assert [lease.id for lease in leases.list()] == sorted(mine)
            over = [id for id in sorted(mine) if (end := mine[id][0]) is not None and self.now > end]
            assert list(leases.dead()) == over
            for id, (_, resources) in mine.items():
                found = list(leases.resources(id))
                assert set(found) == resources and len(found) == leases.count(id) == len(resources)
                assert leases.is_live(where, id) == (id not in over)

    def ids(self, where: str) -> st.SearchStrategy[str]:
        """Any id, the held ones included."""
        return st.sampled_from(["a", "b", "a/b", *sorted(id for of, id in self.held if of == where)])


@pytest.mark.slow
def test_leases_do_what_the_model_does() -> None:
    run_state_machine_as_test(
        LeaseMachine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),
    st.integers(-23 * 60, 23 * 60),
)
def test_a_time_that_was_written_is_read_again(when: datetime, minutes: int) -> None:
    moment = when.replace(tzinfo=UTC)
    sign, offset = "-" if minutes < 0 else "+", abs(minutes)
    local = when + timedelta(minutes=minutes)

    text = f"{local.isoformat()}{sign}{offset // 60:02}:{offset % 60:02}"

    assert parse_expire(text) == moment
    assert parse_expire(f"{when.isoformat()}Z") == moment


@given(st.text(max_size=40) | st.from_regex(r"[0-9T:.Z+-]{0,40}", fullmatch=True))
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    found = parse_expire(text)

    assert found is None or found.tzinfo is UTC
