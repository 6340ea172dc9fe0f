"""Attempts: how many wrong passwords are taken, of one client for one user and of one client at all."""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST: Final = 20_000  # clients and users that are told apart; the oldest are forgotten
_LONGEST: Final = 255  # characters of a name; no user has a longer one
_ALL: Final = 10  # times as many attempts has a client for all users together


class _Kind(NamedTuple):
    """``user`` is None for all users together."""

    network: str
    user: str | None


class Attempts:
    """Each wrong password takes one of ``most`` attempts; one comes back every ``interval`` seconds.

    So nobody is shut out for long: behind one address, too, others go on with their own names, and who
    has been let in lately does not ask. All users together have ten times as many, ten times as fast.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, *, most: int, interval: float, now: Callable[[], float]) -> None:
        self._most = most
        self._interval = interval
        self._now = now
        self._guard = threading.Lock()
        self._taken: OrderedDict[_Kind, tuple[float, float]] = OrderedDict()  # how many, and when

    def wait(self, client: str, user: str) -> int:
        """Whole seconds until an attempt is left; 0: there is one."""
        with self._guard:
            return max(self._missing(kind) for kind in _kinds(client, user))

    def failed(self, client: str, user: str) -> None:
        """Take an attempt away."""
        with self._guard:
            for kind in _kinds(client, user):
                self._taken[kind] = (self._of(kind) + 1.0, self._now())
                self._taken.move_to_end(kind)
            while len(self._taken) > _MOST:
                self._taken.popitem(last=False)

    def succeeded(self, client: str, user: str) -> None:
        """Give the attempts for this user back; those of the client for others stay away."""
        with self._guard:
            self._taken.pop(_kinds(client, user)[0], None)

    def _of(self, kind: _Kind) -> float:
        taken, when = self._taken.get(kind, (0.0, 0.0))
        return max(0.0, taken - max(0.0, self._now() - when) / self._pace(kind))

    def _missing(self, kind: _Kind) -> int:
        most = self._most * (_ALL if kind.user is None else 1)
        over = self._of(kind) - (most - 1)
        return 0 if over <= 0 else max(1, math.ceil(over * self._pace(kind)))

    def _pace(self, kind: _Kind) -> float:
        return self._interval / (_ALL if kind.user is None else 1)


def _kinds(client: str, user: str) -> tuple[_Kind, _Kind]:
    network = network_of(client)
    return _Kind(network, user[:_LONGEST]), _Kind(network, None)


def network_of(client: str) -> str:
    """The address; of IPv6 the half that a provider gives to one customer."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if address.version == 4 or address.ipv4_mapped is not None:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
