"""Resolvers: a way to registries for each call that runs, so that ending one disturbs no other."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from distore.api.interrupt import Interrupt
from distore.errors import Cancelled, Unavailable
from distore.remotes.budget import SharedBudget
from distore.remotes.http.auth import Authorizer
from distore.remotes.http.resolver import HttpResolver
from distore.remotes.sessions import FileSessions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.remotes.budget import Budget
    from distore.remotes.credentials import Credentials
    from distore.remotes.options import RegistryOptions
    from distore.remotes.sessions import Sessions

_KEPT: Final = 8  # resolvers without work that keep their connections and tokens


class Gate:
    """A Budget that lets no request out once the call is to end: ``abort`` alone ends what is
    under way, and not what follows it."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.interrupt = Interrupt()

    def enter(self, netloc: str, /) -> None:
        self.interrupt.check()
        self._budget.enter(netloc)
        self.interrupt.check()

    def told(
        self, netloc: str, status: int, /, *, retry_after: float | None = None, remaining: int | None = None
    ) -> None:
        self._budget.told(netloc, status, retry_after=retry_after, remaining=remaining)

    def abort(self) -> None:
        self._budget.abort()


class OneResolver(HttpResolver):
    """An HttpResolver for one call at a time."""

    def __init__(
        self, options: RegistryOptions, *, credentials: Credentials, sessions: Sessions | None, gate: Gate
    ) -> None:
        super().__init__(options, sessions=sessions, budget=gate)
        # Shared by all resolvers of a Registry: helpers are asked once.
        self._authorizer = Authorizer(self._transport, clock=time.monotonic, credentials=credentials)
        self.gate = gate


class Resolvers:
    """Gives out resolvers. Safe to share between threads.

    Args:
        folder: A store's, which keeps uploads that break off and what hosts ask for; None: uploads
            are not kept, and each resolver remembers by itself.
    """

    def __init__(
        self, options: RegistryOptions, *, credentials: Credentials, folder: str | None = None
    ) -> None:
        self._options = options
        self._credentials = credentials
        self._folder = folder
        self._guard = threading.Lock()
        self._free: list[OneResolver] = []
        self._closed = False

    @contextmanager
    def one(self, interrupt: Interrupt) -> Iterator[HttpResolver]:
        """A resolver for the block alone, with the connections and tokens of an earlier one.

        Raises:
            Cancelled: ``interrupt`` is set; also in place of the Unavailable that it led to.
        """
        with self._guard:
            resolver = self._free.pop() if self._free else None
        resolver = resolver or self._new()
        resolver.gate.interrupt = interrupt
        try:
            with interrupt.breaking(resolver.abort):
                yield resolver
        except Unavailable as error:
            if interrupt.is_set:
                raise Cancelled("stopped; what came is kept") from error
            raise
        finally:
            self._keep(resolver)

    def close(self) -> None:
        """Close the connections; those in use when they are free."""
        with self._guard:
            self._closed = True
            free, self._free = self._free, []
        for resolver in free:
            resolver.close()

    def _new(self) -> OneResolver:
        folder = self._folder
        return OneResolver(
            self._options,
            credentials=self._credentials,
            sessions=None if folder is None else FileSessions(os.path.join(folder, "uploads")),
            gate=Gate(SharedBudget(None if folder is None else os.path.join(folder, "hosts"))),
        )

    def _keep(self, resolver: OneResolver) -> None:
        with self._guard:
            kept = not self._closed and len(self._free) < _KEPT
            if kept:
                self._free.append(resolver)
        if not kept:
            resolver.close()
