"""Room: whether the file system and the quotas have room for what somebody brings."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import DiskFull, PermissionDenied
from distore.registry.patterns import EVERY
from distore.registry.sizes import human

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from distore.registry.keepsettings import KeepSettings, Quota
    from distore.repositories import Repositories

DEFAULT_FREE: Final = 1_000_000_000  # bytes that stay free, unless that is too much of a small disk
_DEFAULT_SHARE: Final = 20  # of a small disk one part of so many
_REST: Final = 20  # times what a sum took are left to others before the next one


class Space(NamedTuple):
    """Of the file system, in bytes: what may still be written, and all of it."""

    free: int
    total: int


class Room:
    """How much may still come; safe to use from any thread.

    Args:
        space: Of the file system; None: nobody can tell.
        monotonic: Seconds.
        on_full: Called whenever something is refused since the disk is full.
    """

    def __init__(
        self,
        repositories: Repositories,
        settings: KeepSettings,
        *,
        space: Callable[[], Space | None],
        monotonic: Callable[[], float],
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._space = space
        self._on_full = on_full
        self._ledgers = [
            _Ledger(quota, repositories, monotonic, idle=settings.uploads) for quota in settings.quotas
        ]

    def check_disk(self, size: int = 0) -> int:
        """Refuse ``size`` more bytes on a disk that is full, or would be; the bytes that it has room for.

        Raises:
            DiskFull: Pushes and copies have to wait until there is room again.
        """
        space = self._space()
        if space is None:
            return 1 << 62
        left = space.free - self._reserved(space)
        if left > 0 and size <= left:
            return left
        self._on_full()
        raise DiskFull(
            f"the disk of this registry is full: {human(space.free)} of {human(space.total)} are free,"
            f" {human(self._reserved(space))} have to stay so; what is there can still be pulled"
        )

    def short(self) -> int:
        """Bytes that have to become free before the disk takes anything again; 0: none."""
        space = self._space()
        return 0 if space is None else max(0, self._reserved(space) - space.free)

    def check(self, repository: str, size: int = 0) -> int:
        """The same of the quotas about ``repository``, too.

        Raises:
            DiskFull: As ``check_disk``.
            PermissionDenied: A quota is used up.
        """
        left = self.check_disk(size)
        for ledger in self._about(repository):
            left = min(left, ledger.check(size))
        return left

    def check_mount(self, repository: str, size: int, owners: Collection[str]) -> None:
        """Refuse a blob that other repositories have, where it does not count already.

        Raises:
            DiskFull, PermissionDenied: As ``check``.
        """
        self.check_disk()
        for ledger in self._about(repository):
            counted = any(ledger.quota.repositories.match(owner) for owner in owners)
            ledger.check(0 if counted else size)

    def note(self, repository: str, size: int) -> None:
        """Bytes have come for a repository, in a request that is still at work."""
        for ledger in self._about(repository):
            ledger.note(size)

    def add(self, repository: str, size: int) -> None:
        """Bytes that were here came to be a repository's, too."""
        for ledger in self._about(repository):
            ledger.add(size)

    def end(self, repository: str, size: int, *, kept: bool) -> None:
        """A request has ended that brought so many bytes, which were kept or not."""
        for ledger in self._about(repository):
            ledger.end(size, kept=kept)

    def keep(self, repository: str, upload: str, size: int) -> None:
        """So many bytes have come to be in an upload that is not finished."""
        for ledger in self._about(repository):
            ledger.keep(f"{repository}/{upload}", size)

    def let_go(self, repository: str, upload: str, *, kept: bool) -> None:
        """An upload has come to its end, and is a blob of the repository now, or not."""
        for ledger in self._about(repository):
            ledger.let_go(f"{repository}/{upload}", kept=kept)

    def _about(self, repository: str) -> list[_Ledger]:
        return [ledger for ledger in self._ledgers if ledger.quota.repositories.match(repository)]

    def _reserved(self, space: Space) -> int:
        """Bytes that have to stay free."""
        free, high_water = self._settings.free, self._settings.high_water
        if free is None:
            free = min(DEFAULT_FREE, space.total // _DEFAULT_SHARE) if high_water is None else 0
        return max(free, 0 if high_water is None else round(space.total * (1 - high_water)))


class _Ledger:
    """How much of one quota is used: a sum from time to time, what came since, and uploads."""

    def __init__(
        self, quota: Quota, repositories: Repositories, monotonic: Callable[[], float], *, idle: float
    ) -> None:
        self.quota = quota
        self._idle = idle  # seconds after which an upload is dropped
        self._uploads: dict[str, tuple[int, float]] = {}  # bytes, and when some came; the oldest first
        self._kept = 0  # bytes of them
        self._repositories = repositories
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._version: int | None = None
        self._until = 0.0
        self._sum = 0
        self._since = 0  # bytes that came since the sum
        self._running = 0  # bytes of requests at work: no sum has them

    def check(self, size: int) -> int:
        """Refuse ``size`` more bytes if they do not fit; how many would."""
        used = self._now_used()
        left = self.quota.size - used
        if left > 0 and size <= left:
            return left
        wanted = f"; this needs {human(size)}" if 0 < left < size else ""
        raise PermissionDenied(
            f"quota of {self.quota.repositories} is used up: {human(used)} of {human(self.quota.size)};"
            f" {human(max(0, left))} free{wanted}"
        )

    def note(self, size: int) -> None:
        with self._guard:
            self._since += size
            self._running += size

    def add(self, size: int) -> None:
        with self._guard:
            self._since += size

    def end(self, size: int, *, kept: bool) -> None:
        with self._guard:
            self._running -= size
            if not kept:
                self._since = max(0, self._since - size)

    def keep(self, upload: str, size: int) -> None:
        with self._guard:
            known, _ = self._uploads.pop(upload, (0, 0.0))
            self._uploads[upload] = (known + size, self._monotonic())
            self._kept += size

    def let_go(self, upload: str, *, kept: bool) -> None:
        with self._guard:
            size = self._take(upload)
            self._since += size if kept else 0

    def _take(self, upload: str) -> int:
        size, _ = self._uploads.pop(upload, (0, 0.0))
        self._kept -= size
        return size

    def _now_used(self) -> int:
        with self._guard:
            started = self._monotonic()
            while self._uploads:
                oldest, (_, moment) = next(iter(self._uploads.items()))
                if started - moment < self._idle:
                    break
                self._take(oldest)
            if self._version is None or started >= self._until:
                version = self._repositories.version()
                if version != self._version:
                    self._sum = self._added_up()
                    self._version = version
                self._since = 0
                ended = self._monotonic()
                self._until = ended + (ended - started) * _REST
            return self._sum + self._kept + max(self._since, self._running)

    def _added_up(self) -> int:
        if self.quota.repositories == EVERY:
            return self._repositories.size()
        names = [name for name in self._repositories.names() if self.quota.repositories.match(name)]
        return self._repositories.size(names)
