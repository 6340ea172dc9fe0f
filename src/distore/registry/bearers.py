"""Bearers: who shows a token, and what it allows; a token is looked at once and then remembered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distore.registry.cachememo import Memo
from distore.registry.jwt import MAX_TOKEN, claims_of
from distore.registry.rules import ACTIONS
from distore.registry.scopes import CATALOG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distore.registry.jwt import Wanted
    from distore.registry.jwtkeys import VerifyingKey

ACCESS_KIND: Final = "JWT"
_MOST: Final = 10_000  # tokens that are remembered
_MAX_USER: Final = 255  # characters
_MAX_ENTRIES: Final = 1000  # in the claim "access"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """``access``: actions by repository; ``catalog``: it also allows to list them; ``user``: see Grants."""

    user: str | None
    access: Mapping[str, frozenset[str]]
    catalog: bool


class _Proved(NamedTuple):
    """``keys``: those that there were when one of them proved it."""

    bearer: Bearer
    keys: tuple[VerifyingKey, ...]


class Bearers:
    """Safe to use from any thread.

    Args:
        keys: Those that hold now.
        now: Seconds since the epoch.
    """

    def __init__(
        self, keys: Callable[[], Sequence[VerifyingKey]], wanted: Wanted, *, now: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._wanted = wanted
        self._now = now
        self._known: Memo[_Proved] = Memo(_MOST, now=now)

    def at_hand(self, token: str) -> Bearer | None:
        """Of a token that was good a while ago and still is; waits for nothing."""
        known = self._known.get(_mark(token)) if len(token) <= MAX_TOKEN else None
        # Keys that are taken away take along what they proved.
        same = known is not None and _are_same(known.keys, self._keys())
        return known.bearer if known is not None and same else None

    def check(self, token: str) -> Bearer:
        """Of any token.

        Raises:
            Unauthenticated: It is none that holds.
        """
        known = self.at_hand(token)
        if known is not None:
            return known
        now = self._now()
        keys = self._keys()
        claims = claims_of(token, keys, self._wanted, now=now)
        bearer = _bearer(claims)
        until = float(claims["exp"]) + self._wanted.leeway
        self._known.put(_mark(token), _Proved(bearer, tuple(keys)), until=until)
        return bearer


def _are_same(some: Sequence[VerifyingKey], others: Sequence[VerifyingKey]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def _mark(token: str) -> bytes:
    """Not the token itself: what is in memory cannot be shown to anybody."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _bearer(claims: Mapping[str, Any]) -> Bearer:
    user = claims.get("sub")
    named = isinstance(user, str) and 0 < len(user) <= _MAX_USER
    entries = claims.get("access")
    access: dict[str, frozenset[str]] = {}
    catalog = False
    for entry in entries[:_MAX_ENTRIES] if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        kind, name, actions = (entry.get(key) for key in ("type", "name", "actions"))
        if not isinstance(name, str) or not isinstance(actions, list):
            continue
        if kind == "repository":
            allowed = ACTIONS if "*" in actions else [action for action in ACTIONS if action in actions]
            access[name] = access.get(name, frozenset()) | frozenset(allowed)
        elif (kind, name) == (CATALOG.kind, CATALOG.name) and "*" in actions:
            catalog = True
    return Bearer(user=user if named else None, access=access, catalog=catalog)
