"""Past: what workers had counted when they ended, so that no counter goes back."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from distore.registry.metrics import Family, dump, load, summed

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALL: Final = "all.past"


def leave(folder: str, pid: int, families: Iterable[Family]) -> None:
    """Write what a worker has counted; the last thing it does."""
    with suppress(OSError):
        _write(os.path.join(folder, f"{pid}.past"), families)


def settle(folder: str, pid: int) -> None:
    """Add it to that of the others, and forget its socket; by the supervisor, when a worker has ended."""
    left = os.path.join(folder, f"{pid}.past")
    counted = _read(left)
    with suppress(OSError):
        if counted:
            _write(os.path.join(folder, _ALL), summed([read(folder), counted]))
            os.unlink(left)
    with suppress(OSError):
        os.unlink(os.path.join(folder, f"{pid}.sock"))


def read(folder: str) -> list[Family]:
    """What all workers that have ended had counted."""
    return _read(os.path.join(folder, _ALL))


def _read(path: str) -> list[Family]:
    try:
        with open(path, "rb") as file:
            return load(file.read())
    except (OSError, ValueError, TypeError):
        return []


def _write(path: str, families: Iterable[Family]) -> None:
    counted = [family for family in families if family.kind != "gauge"]
    with open(f"{path}.new", "wb") as file:
        file.write(dump(counted))
    os.replace(f"{path}.new", path)
