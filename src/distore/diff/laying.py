"""Laying: what laying a layer over a folder has in common, whatever form its whiteouts take there."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import closing
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translate
from distore.diff.ahead import ReadAhead
from distore.diff.entry import Maker, write
from distore.diff.overlaytar import MAX_CHARACTERS, MAX_RECORDS, OPAQUE, WHITEOUT
from distore.diff.safepath import Root
from distore.diff.tarmember import FOLDER, MAX_NAME, Member, Meta, members, shown
from distore.diff.tarsparse import Hole
from distore.errors import FailedPrecondition, ResourceExhausted

if TYPE_CHECKING:
    from distore.content.store import Input
    from distore.diff.entry import ApplyOptions

UNTOLD: Final = Meta(mode=0o755)  # of a folder that only the names in it tell of
# Bytes of paths that are looked at, one by one, where links are on the way or folders are missing. Each
# takes the system the longer the deeper it is: this is a minute or two.
MAX_LOOKED: Final = 1 << 30
MAX_REMEMBERED: Final = 65_536  # folders whose real path is kept
_WHITEOUT: Final = WHITEOUT.encode()
_OPAQUE: Final = OPAQUE.encode()
_RESERVED: Final = b".wh..wh."  # what aufs keeps for itself; nothing of it is part of the image
_ASIDE: Final = _RESERVED + b"distore"  # so that no layer can have it
_OWNER: Final = 0o700
_RECORD: Final = 128  # bytes in memory of a record, beside its own


def open_root(path: str, options: ApplyOptions, subject: str) -> Root:
    """The folder that a layer is laid over.

    Raises:
        DistoreError: It cannot be opened.
    """
    try:
        return Root(path, unlock=not options.as_root)
    except OSError as error:
        raise translate(error, f"{subject}: folder {path}") from error


class Laying(ABC):
    """One layer on its way. Raises OSErrors as they are; ``at`` says what was at work."""

    def __init__(self, root: Root, options: ApplyOptions, subject: str) -> None:
        self._root = root
        self._subject = subject
        self._maker = Maker(options, subject)
        self._left = options.max_entries
        self._most = options.max_entries
        self._names = MAX_CHARACTERS  # bytes of names that may still be kept
        self._records = MAX_RECORDS  # and of what folders say about themselves
        self._looked = MAX_LOOKED
        self._file = -1
        self._meta = UNTOLD
        self._has_holes = False
        self.at = subject

    @property
    def left_out(self) -> int:
        """Devices and extended attributes that could not, or must not, be made."""
        return self._maker.left_out

    def take(self, layer: Input, options: ApplyOptions, *, algorithm: str) -> ReadAhead:
        """All members of a plain tar file; it is read to its end.

        Raises:
            DistoreError: As ``apply``.
        """
        ahead = ReadAhead(layer, algorithm=algorithm, limit=options.max_size, subject=self._subject)
        with closing(ahead):
            try:
                for found in members(ahead, subject=self._subject, holes=True):
                    if isinstance(found, Member):
                        self.lay(found)
                    elif self._file >= 0:
                        self._write(found)
                self._end_file()
                self.finish()
            except OSError as error:
                raise translate(error, self.at) from error
            finally:
                self._close()
        return ahead

    def lay(self, member: Member) -> None:
        """The next member."""
        self._end_file()
        self._left -= 1
        if self._left < 0:
            raise ResourceExhausted(f"{self._subject}: more than {self._most} members")
        self.at = f"{self._subject}: {shown(member.name)}"
        if member.kind == FOLDER and member.meta.records:
            self._keep_records(member.meta)
        head, _, base = member.name.encode("utf-8", "surrogateescape").rpartition(b"/")
        if _WHITEOUT in head and self._is_reserved(head):
            return
        if base.startswith(_WHITEOUT):
            self._lay_whiteout(head, base)
        elif base:
            if not self._maker.leaves_out(member):
                self._put(member, head, base)
        elif member.kind == FOLDER:
            self._tell_root(member.meta)
        else:
            raise FailedPrecondition(f"{self._subject}: its root is no folder")

    @abstractmethod
    def finish(self) -> None:
        """All members came."""

    @abstractmethod
    def _put(self, member: Member, head: bytes, base: bytes) -> None:
        """A member with a name; ``head`` as the layer spells it."""

    @abstractmethod
    def _tell_root(self, meta: Meta) -> None:
        """The layer tells of the root itself."""

    @abstractmethod
    def _hide(self, head: bytes, name: bytes) -> None:
        """Hide what lower layers have of this name."""

    @abstractmethod
    def _hide_all(self, head: bytes) -> None:
        """Hide what lower layers have in this folder."""

    @abstractmethod
    def _remove(self, path: bytes) -> None:
        """Remove what is in the place of something else, if there is anything."""

    def _keep(self, path: bytes) -> None:
        """A path stays in memory until the end of the layer."""
        self._names -= len(path)
        if self._names < 0:
            raise ResourceExhausted(f"{self._subject}: has names of over {MAX_CHARACTERS} characters")

    def _spend(self, size: int) -> None:
        """A path of so many bytes is looked at."""
        self._looked -= size
        if self._looked < 0:
            raise ResourceExhausted(f"{self._subject}: the links and folders in it take too long to follow")

    def _keep_records(self, meta: Meta) -> None:
        self._records -= sum(len(key) + len(value) + _RECORD for key, value in meta.records)
        if self._records < 0:
            raise ResourceExhausted(f"{self._subject}: its folders have over {MAX_RECORDS} bytes of records")

    def _lay_whiteout(self, head: bytes, base: bytes) -> None:
        if base == _OPAQUE:
            self._hide_all(head)
        elif not base.startswith(_RESERVED):
            hidden = base[len(_WHITEOUT) :]
            if hidden in (b"", b".", b".."):
                raise FailedPrecondition(f"{self.at} is a whiteout of nothing")
            self._hide(head, hidden)

    def _is_reserved(self, head: bytes) -> bool:
        for part in head.split(b"/"):
            if part.startswith(_RESERVED):
                return True
            if part.startswith(_WHITEOUT):
                raise FailedPrecondition(f"{self.at} is in a folder named as a whiteout")
        return False

    def _make(self, member: Member, path: bytes, fd: int) -> None:
        """What is no folder and no hard link, in a folder that is open."""
        base = path.rpartition(b"/")[2]
        try:
            made = self._maker.make(member, fd, base)
        except FileExistsError:
            self._remove(path)
            made = self._maker.make(member, self._root.folder(path.rpartition(b"/")[0]), base)
        if made is not None:
            self._file, self._meta = made, member.meta

    def _mkdir(self, path: bytes, fd: int) -> None:
        if len(path) >= MAX_NAME:  # nobody could open it; a short name gets here through a link
            raise ResourceExhausted(f"{self.at} makes a path of over {MAX_NAME - 1} bytes")
        os.mkdir(path.rpartition(b"/")[2], _OWNER, dir_fd=fd)
        self._keep(path)

    def _link(self, target: bytes, path: bytes) -> None:
        """A hard link to a real path, in the place of whatever has its name."""
        head, _, source = target.rpartition(b"/")
        parent, _, base = path.rpartition(b"/")
        fds = {"src_dir_fd": self._root.folder(head), "dst_dir_fd": self._root.folder(parent)}
        try:
            os.link(source, base, follow_symlinks=False, **fds)
        except FileExistsError:
            there = os.stat(base, dir_fd=fds["dst_dir_fd"], follow_symlinks=False)
            meant = os.stat(source, dir_fd=fds["src_dir_fd"], follow_symlinks=False)
            if os.path.samestat(there, meant):
                return
            # What is in the way may be the folder that the target is in.
            os.link(source, _ASIDE, follow_symlinks=False, **fds)
            self._remove(path)
            fd = self._root.folder(parent)
            os.rename(_ASIDE, base, src_dir_fd=fd, dst_dir_fd=fd)

    def _no_target(self, member: Member, *, is_there: bool) -> FailedPrecondition:
        what = "no file" if is_there else "not there"
        return FailedPrecondition(f"{self.at} is a hard link to {shown(member.link)}, which is {what}")

    def _write(self, found: memoryview | Hole) -> None:
        if isinstance(found, Hole):
            os.lseek(self._file, found.size, os.SEEK_CUR)
            self._has_holes = True
        else:
            write(self._file, found)

    def _end_file(self) -> None:
        if self._file >= 0:
            if self._has_holes:  # perhaps at its end, which nothing made so far
                os.ftruncate(self._file, os.lseek(self._file, 0, os.SEEK_CUR))
                self._has_holes = False
            self._maker.finish(self._file, self._meta, self.at)
            self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
