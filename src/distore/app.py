"""The wiring: the only place, with ``distore.testing``, that names implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distore.config import Config
    from distore.content.local.check import Check, Suppliers
    from distore.content.local.store import LocalStore


class App:
    """The parts of one command, each made when it is first asked for."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._content: LocalStore | None = None

    @property
    def content(self) -> LocalStore:
        """The content store at ``config.root``.

        Raises:
            FailedPrecondition, UnsupportedStore: As LocalStore.
        """
        if self._content is None:
            self._content = self.open_store(self.config.root)
        return self._content

    def open_store(self, root: str) -> LocalStore:
        """A content store at another place."""
        from distore.content.local.store import LocalStore

        return LocalStore(root, command=self.config.command)

    def check(
        self,
        *,
        dry_run: bool,
        quick: bool,
        older_than: float | None,
        rate: int | None,
        workers: int | None,
        suppliers: Suppliers | None,
    ) -> Check:
        """An fsck of the content store; see ``CheckOptions``."""
        import time

        from distore.content.local.check import Check, CheckOptions

        options = CheckOptions(
            dry_run=dry_run,
            quick=quick,
            older_than=older_than,
            rate=rate,
            workers=workers,
            suppliers=suppliers,
        )
        return Check(self.content, options, now=time.time, monotonic=time.monotonic, sleep=time.sleep)

    def close(self) -> None:
        """Close what was opened."""
        if self._content is not None:
            self._content.close()
