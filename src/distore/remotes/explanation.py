"""Explanation: how one host of a registry is reached, for people who wonder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distore.errors import DistoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One host. Nothing in it is secret.

    ``decided_by`` is the file or folder that did, None for the default; ``namespace`` the registry
    that it is asked on behalf of; ``headers`` the names of those it is sent. ``user`` and ``source``
    are of the credential that it would be shown, None without one. ``verify`` is None without TLS;
    ``ca`` are files with authorities, trusted besides the system's, or instead of them when
    ``only_ca``; ``client`` are certificates. ``proxy`` is without its password.

    ``status``, ``seconds`` (until the first answer) and ``schemes`` (what it asks for) are None when
    it was not asked or did not answer. ``error`` is what keeps it from being used.
    """

    url: str
    decided_by: str | None = None
    capabilities: tuple[str, ...] = ()
    namespace: str | None = None
    headers: tuple[str, ...] = ()
    user: str | None = None
    source: str | None = None
    verify: bool | None = None
    ca: tuple[str, ...] = ()
    only_ca: bool = False
    client: tuple[str, ...] = ()
    proxy: str | None = None
    status: int | None = None
    seconds: float | None = None
    schemes: tuple[str, ...] | None = None
    error: DistoreError | None = None
