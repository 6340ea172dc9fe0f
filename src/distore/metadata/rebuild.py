"""Rebuild: a new ``dist.db`` of what a damaged one still tells, and of what the blobs tell.

Nobody may have the database open, and nobody opens it meanwhile (``databasefile.gate``). The old
file is never changed, only renamed; what each crash leaves is in docs/formats/store.md#rebuild.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore._internal.oserrors import translated
from distore.content.local.database import fill
from distore.content.local.databasefile import gate, header_of, refuse_used
from distore.content.local.paths import Paths
from distore.content.local.salvage import Salvaged, needs_saving, salvage
from distore.content.local.schema import SCHEMA_VERSION
from distore.errors import FailedPrecondition, NotFound, UnsupportedStore
from distore.metadata.retold import Told, tell

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

_MARK: Final = "distore: dist db rebuild was interrupted; run it again. The old database is "
_MAX_MARK: Final = 1024  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was done, or with ``dry_run`` would be.

    Args:
        done: Whether there is a new database; not when the old one is all right.
        kept: Where the old one lies now; None: there was none, or it stays.
        salvaged: What came out of it.
        told: What the blobs added.
    """

    done: bool
    kept: str | None
    salvaged: Salvaged = field(repr=False)
    told: Told = field(repr=False)


def rebuild(root: str, *, now: float, dry_run: bool = False, force: bool = False) -> Rebuilt:
    """Give the store at ``root`` a new database, unless the one it has is all right.

    Args:
        now: Seconds since the epoch.
        dry_run: Only tell; nothing in the store changes.
        force: Also when it is all right, newer, or another program's.
    Raises:
        NotFound: There is no store.
        Unavailable: Somebody has the database open.
        UnsupportedStore, FailedPrecondition: Newer, or another program's; nothing was changed.
        DiskFull, ReadOnly, PermissionDenied: Nothing was changed.
    """
    paths = Paths(root)
    if not any(os.path.exists(each) for each in (paths.blobs, paths.ingests, paths.database)):
        raise NotFound(f"store {paths.root}: not found")
    with translated(f"store database {paths.database}"), gate(paths.database, exclusive=True):
        refuse_used(paths.database)
        source = _source(paths.database)
        _refuse_unknown(source, force=force)
        with _workshop(paths, dry_run=dry_run) as folder:
            return _Run(paths, source, folder, now).run(dry_run=dry_run, force=force)


class _Run:
    """Within the gate. ``source`` is the old database, ``folder`` a place to work in."""

    def __init__(self, paths: Paths, source: str, folder: str, now: float) -> None:
        self._paths = paths
        self._source = source
        self._folder = folder
        self._now = now
        self._stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._told = Told()
        self._salvaged = Salvaged()

    def run(self, *, dry_run: bool, force: bool) -> Rebuilt:
        copy, new = os.path.join(self._folder, "old.db"), os.path.join(self._folder, "new.db")
        for suffix in ("", "-wal"):
            if os.path.exists(self._source + suffix):
                shutil.copyfile(self._source + suffix, copy + suffix)
        fill(new, lambda connection: self._fill(connection, copy))
        if not (force or needs_saving(self._salvaged)) and self._source == self._paths.database:
            return Rebuilt(done=False, kept=None, salvaged=self._salvaged, told=Told())
        kept = self._name_of_old()
        if not dry_run:
            self._swap(new, kept)
        return Rebuilt(done=True, kept=kept, salvaged=self._salvaged, told=self._told)

    def _fill(self, connection: sqlite3.Connection, copy: str) -> None:
        self._salvaged = salvage(self._source, copy, connection)
        self._told = tell(
            connection,
            self._paths,
            partial=self._salvaged.partial,
            now=round(self._now * 1_000_000),
            lease=f"dist-db-rebuild-{self._stamp}",
        )

    def _name_of_old(self) -> str | None:
        if not os.path.exists(self._source):
            return None
        if self._source != self._paths.database:
            return self._source  # put aside by a run that was interrupted
        return f"{self._paths.database}.damaged-{self._stamp}"

    def _swap(self, new: str, kept: str | None) -> None:
        """The order is the contract: the old one is safe under its new name, then nothing can be
        opened, then its log goes (which would be taken for the new one's), then the new one comes."""
        database = self._paths.database
        mode = os.stat(self._source).st_mode & 0o777 if kept else None
        _sync(new, mode)
        if kept is None:
            _drop_log(database, keep=f"{database}.damaged-{self._stamp}-wal")
        elif kept != self._source:
            fsops.link(database, kept)
            if os.path.exists(f"{database}-wal"):
                fsops.link(f"{database}-wal", f"{kept}-wal")
            fsops.sync_directory(self._paths.root)
            mark = os.path.join(self._folder, "mark")
            _write(mark, _MARK + os.path.basename(kept) + "\n")
            fsops.rename(mark, database)
            fsops.sync_directory(self._paths.root)
        if kept is not None:
            _drop_log(database, keep=None)
        fsops.sync_directory(self._paths.root)
        fsops.rename(new, database)
        fsops.sync_directory(self._paths.root)


def _source(database: str) -> str:
    """The old database: that of the store, or the one that an interrupted run has put aside."""
    try:
        with open(database, "rb") as file:
            text = file.read(_MAX_MARK)
    except FileNotFoundError:
        return database
    if text.startswith(_MARK.encode()):
        name = text[len(_MARK) :].decode(errors="replace").strip()
        if os.path.basename(name) == name and name.startswith(f"{os.path.basename(database)}.damaged-"):
            return os.path.join(os.path.dirname(database), name)
    return database


def _refuse_unknown(source: str, *, force: bool) -> None:
    header = header_of(source)
    if header is None or force:
        return
    if header.is_newer:
        raise UnsupportedStore(
            f"store database {source}: made by a newer version of distore (format {header.version}, this one"
            f" knows {SCHEMA_VERSION}); upgrade distore, or --force keeps what this one understands"
        )
    if header.is_foreign:
        raise FailedPrecondition(
            f"store database {source}: belongs to another program; --force puts it aside and makes a new one"
        )


@contextmanager
def _workshop(paths: Paths, *, dry_run: bool) -> Iterator[str]:
    """A folder on the same file system; what an interrupted run left there goes."""
    if dry_run:
        with tempfile.TemporaryDirectory() as folder:
            yield folder
        return
    folder = f"{paths.database}.rebuild"
    shutil.rmtree(folder, ignore_errors=True)
    fsops.make_directory(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: str, text: str) -> None:
    fd = fsops.open_file(path)
    try:
        fsops.write(fd, text.encode(), 0)
        fsops.sync_file(fd)
    finally:
        os.close(fd)


def _sync(path: str, mode: int | None) -> None:
    fd = fsops.open_file(path)
    try:
        if mode is not None:
            fsops.set_mode(fd, mode)
        fsops.sync_file(fd)
    finally:
        os.close(fd)


def _drop_log(database: str, *, keep: str | None) -> None:
    with suppress(FileNotFoundError):
        if keep is None:
            fsops.unlink(f"{database}-wal")
        else:
            fsops.rename(f"{database}-wal", keep)
    with suppress(FileNotFoundError):
        fsops.unlink(f"{database}-shm")
    with suppress(FileNotFoundError):
        fsops.unlink(f"{database}-journal")
