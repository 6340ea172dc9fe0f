"""Whether a transfer fits, before its first byte."""

from __future__ import annotations

import pytest

from distore.content.local.store import LocalStore
from distore.content.memory import MemoryStore
from distore.errors import DiskFull
from distore.transfer.space import Space, check_space


class Room:
    """A store with so much of it."""

    def __init__(self, free: int | None) -> None:
        self.free = free

    def free_space(self) -> int | None:
        return self.free


@pytest.mark.parametrize(("free", "missing"), [(10, 10), (10, 0), (0, 0), (None, 1 << 60)])
def test_what_fits_passes(free: int | None, missing: int) -> None:
    check_space(Room(free), missing, subject="image")


def test_what_does_not_fit_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(DiskFull) as caught:
        check_space(Room(10), 11, subject="image")

    assert str(caught.value) == (
        "image: 11 bytes are missing and 10 are free; nothing was fetched. Make room, or name another store"
        " with --root"
    )


def test_a_store_that_knows_nothing_of_room_has_enough() -> None:
    check_space(MemoryStore(), 1 << 60, subject="image")


def test_the_local_store_knows_its_room_before_its_folder_is_there(store: LocalStore) -> None:
    free = store.free_space()

    assert isinstance(store, Space)
    assert free is not None and free > 0
    with pytest.raises(DiskFull):
        check_space(store, 1 << 62, subject="image")
    assert not store.exists()
