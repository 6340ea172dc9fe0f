"""Exchange: one request and its answer, for those who count and log."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from distore.registry.message import Request


class Exchange(NamedTuple):
    """``status``: NO_ANSWER where none was sent; ``received`` and ``sent``: bytes of bodies."""

    request: Request
    id: str
    status: int
    received: int
    sent: int
    seconds: float
