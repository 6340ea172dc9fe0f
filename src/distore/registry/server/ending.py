"""Ending: how a server comes to its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Ending:
    """Used in the event loop, once that runs; ``grace``: seconds that what is under way gets."""

    def __init__(self, grace: float) -> None:
        self.begun = asyncio.Event()
        self.linger = False
        self.grace = grace
        self._hurried = asyncio.Event()

    def begin(self, grace: float, *, linger: bool) -> None:
        """Have it end; ``linger`` as RegistryServer.stop."""
        self.grace, self.linger = grace, linger
        self.begun.set()

    def hurry(self) -> None:
        """Wait for nothing more."""
        self.begun.set()
        self._hurried.set()

    async def wait(self, done: Callable[[], bool], seconds: float) -> None:
        """Until it is so, or somebody is in a hurry; not longer than ``seconds``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not done() and (left := end - loop.time()) > 0:
            try:
                await asyncio.wait_for(self._hurried.wait(), min(left, 0.05))
            except TimeoutError:
                continue
            return
