"""Space: whether a transfer fits, before its first byte."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from distore.errors import DiskFull


@runtime_checkable
class Space(Protocol):
    """A store that knows how much room it has."""

    def free_space(self) -> int | None:
        """Bytes that may still be written, or None when it cannot tell."""
        ...


def check_space(store: object, missing: int, *, subject: str) -> None:
    """Refuse what cannot fit.

    Raises:
        DiskFull: ``missing`` is more than ``store`` has room for.
    """
    free = store.free_space() if isinstance(store, Space) else None
    if free is not None and missing > free:
        raise DiskFull(
            f"{subject}: {missing} bytes are missing and {free} are free; nothing was fetched. Make room, or"
            " name another store with --root"
        )
