"""A crash before every step of a lease, and an error at every step: nothing is held for ever."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distore.content.local.store import LocalStore
from distore.errors import DiskFull, DistoreError, PermissionDenied, ReadOnly
from distore.metadata.db import Metadata
from distore.metadata.leases import Leases
from distore.testing import faults

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("default", "other")


def leases_at(root: str, namespace: str) -> Leases:
    return Metadata(LocalStore(root, namespace=namespace), command="test").leases


def work(root: str, namespace: str) -> None:
    with leases_at(root, namespace).held("test"):
        pass


def check(root: str, namespace: str) -> None:
    """What is left is dead, goes, and disturbs nobody."""
    leases = leases_at(root, namespace)
    left = [lease.id for lease in leases.list()]
    assert list(leases.dead()) == left
    assert not any(leases.is_live(namespace, id) for id in left)
    with leases.held("test") as lease:
        for id in left:
            leases.delete(id)
        leases.sweep_locks()
        assert [each.id for each in leases.list()] == [lease.id]
        assert len(os.listdir(os.path.join(root, "leases"))) == 1
    assert list(leases.list()) == []
    assert os.listdir(os.path.join(root, "leases")) == []


@pytest.mark.parametrize("namespace", NAMES)
def test_a_crash_before_any_step_leaves_no_live_lease(
    namespace: str, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    cases = 0
    for number in itertools.count(1):
        root = str(tmp_path / str(number))
        with faults.crash_before(number):
            try:
                work(root, namespace)
            except faults.Crash:
                pass
            else:
                break
        cases += 1

        check(root, namespace)

    assert cases >= 8
    count(f"crash before each step of a lease in {namespace}", cases)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("namespace", NAMES)
def test_an_error_at_any_step_has_its_class_and_leaves_no_live_lease(
    namespace: str, code: int, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    expected = DiskFull if code == errno.ENOSPC else ReadOnly
    cases = 0
    for number in itertools.count(1):
        root = str(tmp_path / str(number))
        with faults.fail_at(number, code) as tried:
            try:
                work(root, namespace)
            except DistoreError as error:
                assert isinstance(error, expected)
            if len(tried) < number:
                break
        cases += 1

        check(root, namespace)

    count(f"{errno.errorcode[code]} at each step of a lease in {namespace}", cases)


def test_an_error_of_the_block_is_not_taken_for_one_of_the_lease(tmp_path: Path) -> None:
    root = str(tmp_path / "store")

    with pytest.raises(PermissionDenied) as caught, leases_at(root, "default").held("test"):
        raise PermissionDenied("mine")

    assert type(caught.value) is PermissionDenied
