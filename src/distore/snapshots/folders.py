"""Folders: where the files of snapshots lie, DRIVER/<id>/fs, and how these come and go.

A folder is made and claimed (flock) before its record is, and its record goes before it does: one
without a record that nobody claims is garbage, whenever a process died.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore.errors import DistoreError
from distore.snapshots import filetree
from distore.snapshots.inuse import mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FILES: Final = "fs"  # the snapshot's own files
WORK: Final = "work"  # overlayfs needs it beside them while they are changed
_MODE: Final = 0o700  # nobody else gets at setuid files of images
_FILES_MODE: Final = 0o755
_GONE: Final = ".gone"  # of a folder that is being removed


class Folders:
    """The folders of one driver. Thread-safe, and safe beside other processes.

    All methods raise OSError as the system does.

    Args:
        path: DRIVER; made with the first snapshot.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def files(self, id: int) -> str:
        """The folder with a snapshot's own files."""
        return os.path.join(self.path, str(id), FILES)

    def work(self, id: int) -> str:
        """The folder that overlayfs works in."""
        return os.path.join(self.path, str(id), WORK)

    def ensure(self) -> None:
        """Make DRIVER when it is missing, durably, and closed to others."""
        above = os.path.dirname(self.path)
        fsops.ensure_directory(os.path.dirname(above))
        for folder in (above, self.path):
            if not os.path.isdir(folder):
                with suppress(FileExistsError):
                    fsops.make_directory(folder, _MODE)
                fsops.sync_directory(os.path.dirname(folder))

    @contextmanager
    def new(self, first: int, is_known: Callable[[int], bool]) -> Iterator[int]:
        """Make a folder, and claim it while the block lasts; it goes again when the block fails, unless it
        has a record by then.

        Args:
            first: Numbers are tried from this one on.
            is_known: Whether a record has the number.
        """
        self.ensure()
        id, claim = self._made(first, is_known)
        try:
            fsops.make_directory(self.files(id), _FILES_MODE)
            os.chmod(self.files(id), _FILES_MODE)  # whatever the umask
            yield id
        except BaseException:
            with suppress(OSError, DistoreError):
                if not is_known(id):  # an interruption may come behind the record
                    self._remove(id)
            raise
        finally:
            os.close(claim)

    def sync(self, id: int) -> None:
        """Return once the names of a new folder are on the device."""
        fsops.sync_directory(os.path.join(self.path, str(id)))
        fsops.sync_directory(self.path)

    def used(self) -> set[int]:
        """The numbers of those that somebody has mounted."""
        return mounted(self.path)

    def remove(self, id: int, *, used: set[int], is_known: Callable[[int], bool]) -> int:
        """Remove the files of a snapshot whose record is gone; the bytes that this freed.

        Nothing happens while somebody has them mounted, or removes them: ``sweep`` takes what is left.

        Args:
            used: Looked at after the record was removed.
            is_known: Whether a record has the number, asked while the folder is claimed: a sweep may
                have been quicker, and the number, and the folder, be those of another snapshot by now.
        """
        if id in used:
            return 0
        claim = self._claimed(str(id))
        if claim is None:
            return 0
        try:
            return 0 if is_known(id) else self._remove(id)
        finally:
            os.close(claim)

    def empty(self, id: int) -> None:
        """Remove the files of a snapshot that is about to go and still has its record; nobody has it
        mounted. Nothing happens while somebody makes or removes it."""
        claim = self._claimed(str(id))
        if claim is None:
            return
        try:
            gone = self._gone(id)
            fsops.rename(self.files(id), gone)
            _remove_tree(gone)
            fsops.make_directory(self.files(id), _FILES_MODE)  # last: where the disk is full it needs room
        finally:
            os.close(claim)

    def drop_work(self, id: int) -> None:
        """Remove what overlayfs has worked in; it counts for nothing once the snapshot is committed."""
        claim = self._claimed(os.path.join(str(id), WORK))
        if claim is not None:
            try:
                gone = self._gone(id)
                fsops.rename(self.work(id), gone)
                _remove_tree(gone)
            finally:
                os.close(claim)

    def sweep(self, ids: Callable[[], Iterable[int]], is_known: Callable[[int], bool]) -> int:
        """Remove the folders that no record tells of and nobody claims or has mounted; the bytes freed.

        Args:
            ids: The numbers of all records, asked for after the folders were listed.
            is_known: Whether a record has the number, asked again while the folder is claimed.
        """
        try:
            with os.scandir(self.path) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return 0
        known = set(ids())
        strays = [name for name in names if _GONE in name or (_is_number(name) and int(name) not in known)]
        if not strays:
            return 0
        used, freed = self.used(), 0
        for name in strays:
            id = None if _GONE in name else int(name)
            if id in used or (claim := self._claimed(name)) is None:
                continue
            try:
                if id is None:
                    freed += _remove_tree(os.path.join(self.path, name))
                elif not is_known(id):
                    freed += self._remove(id)
            finally:
                os.close(claim)
        return freed

    def _made(self, first: int, is_known: Callable[[int], bool]) -> tuple[int, int]:
        """A new folder's number, and the descriptor that claims it."""
        id = first
        while True:
            path = os.path.join(self.path, str(id))
            with suppress(FileExistsError):
                fsops.make_directory(path, _MODE)
                claim = self._claimed(str(id))
                if claim is not None:  # else somebody takes it for garbage, just now
                    if not is_known(id):
                        return id, claim
                    os.close(claim)
                    fsops.remove_directory(path)  # of a record whose files were lost
            id += 1

    def _claimed(self, name: str) -> int | None:
        """A descriptor with the lock of a folder; None: somebody else has it, or it is gone."""
        path = os.path.join(self.path, name)
        try:
            fd = filetree.open_folder(path)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _remove(self, id: int) -> int:
        """Of one that is claimed. The name goes first: what is left of the tree then is nobody's."""
        gone = self._gone(id)
        fsops.rename(os.path.join(self.path, str(id)), gone)
        return _remove_tree(gone)

    def _gone(self, id: int) -> str:
        """A name that is free; numbers come again, and their last folder may still be going."""
        number = 0
        while os.path.lexists(path := os.path.join(self.path, f"{id}{_GONE}{number or ''}")):
            number += 1
        return path


def _is_number(name: str) -> bool:
    """Whether a folder of that name is one of ours: no other spelling of a number is."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def _remove_tree(path: str) -> int:
    from distore.snapshots.subordinate import remove

    return remove(path)
