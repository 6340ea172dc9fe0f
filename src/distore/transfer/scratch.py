"""Scratch: ingests of bytes whose digest nobody knows yet, under refs that nobody can guess.

Two that make the same blob do not meet, and nobody resumes what a killed process left: the next
run drops it.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from distore.errors import Locked, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import IngestManager, Writer
    from distore.transfer.storesink import SinkStore

LAYER: Final = "new-layer"  # one that is being made
FILE: Final = "new-file"  # one of an archive that comes as a stream
_OURS: Final = re.compile(f"({LAYER}|{FILE})-[0-9a-f]{{16}}")
_TRIES: Final = 8


def _token() -> str:
    return secrets.token_hex(8)


def open_scratch(
    store: SinkStore, kind: str, *, total: int | None = None, token: Callable[[], str] = _token
) -> Writer:
    """A writer of an ingest that is nobody else's.

    Args:
        kind: LAYER or FILE.
        total: Bytes that will come, or None.
        token: Makes what tells it from every other one: 16 hexadecimal digits.
    Raises:
        DistoreError: As ``Ingester.writer``.
    """
    ref = f"{kind}-{token()}"
    for _ in range(_TRIES):
        try:
            return store.writer(ref, total=total)
        except NotFound:  # another process has just removed the empty ingest/
            continue
    return store.writer(ref, total=total)


def drop(store: IngestManager, ref: str) -> None:
    """Abort an ingest, unless it has ended or somebody writes it."""
    with suppress(NotFound, Locked):
        store.abort(ref)


def drop_forgotten(store: IngestManager) -> None:
    """Abort what processes left that were killed; what somebody writes stays."""
    for status in list(store.statuses()):
        if status.owner is None and _OURS.fullmatch(status.ref):
            drop(store, status.ref)
