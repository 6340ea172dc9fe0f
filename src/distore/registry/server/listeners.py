"""Listeners: the sockets that all workers share, as the settings change."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from distore.registry.server.addresses import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from distore.registry.server.addresses import Address


class Listeners:
    """Open until ``close``.

    Args:
        given: Sockets that were handed over; they are used instead of all addresses.
    """

    def __init__(self, given: Sequence[socket.socket] = ()) -> None:
        self._given = list(given)
        self._bound: dict[Address, list[socket.socket]] = {}

    def bind(self, addresses: Iterable[Address]) -> list[socket.socket]:
        """Listen there, too, or nowhere more than before; what is open already stays the same socket.

        Raises:
            DistoreError: As Address.bind.
        """
        if self._given:
            return list(self._given)
        wanted = list(dict.fromkeys(addresses))
        new: dict[Address, list[socket.socket]] = {}
        try:
            for address in wanted:
                if address not in self._bound:
                    new[address] = address.bind()
        except BaseException:
            _close(new)
            raise
        self._bound |= new
        return [each for address in wanted for each in self._bound[address]]

    def keep(self, addresses: Iterable[Address]) -> None:
        """Listen nowhere else any more."""
        gone = {address: self._bound.pop(address) for address in set(self._bound) - set(addresses)}
        _close(gone)

    def names(self) -> list[str]:
        """Where it listens, with real ports."""
        bound = [each for sockets in self._bound.values() for each in sockets]
        return [name_of(each) for each in (*self._given, *bound)]

    def close(self) -> None:
        """Listen nowhere; a path that was made is removed."""
        self.keep(())
        for each in self._given:
            each.close()


def _close(bound: dict[Address, list[socket.socket]]) -> None:
    for address, sockets in bound.items():
        for each in sockets:
            each.close()
        if address.path:
            with contextlib.suppress(OSError):
                os.unlink(address.path)
