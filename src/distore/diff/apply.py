"""Apply: lay a layer over a folder (image-spec, layer.md, "Applying Changesets").

The tree is the one that ``overlaytar`` tells of: links on the way to a name are followed, never out
of the folder; a whiteout hides what lay there before, never what its own layer has, whatever the order
of the two; of members with one name the last counts.
"""

from __future__ import annotations

import os
import stat
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translate
from distore.diff.ahead import ReadAhead
from distore.diff.entry import Maker, write
from distore.diff.overlaytar import OPAQUE, WHITEOUT
from distore.diff.safepath import Root, join, shown_path
from distore.diff.tarmember import FOLDER, HARD_LINK, MAX_NAME, Member, Meta, members, shown
from distore.errors import FailedPrecondition, ResourceExhausted
from distore.oci.digest import DEFAULT_ALGORITHM

if TYPE_CHECKING:
    from distore.content.store import Input
    from distore.diff.entry import ApplyOptions
    from distore.oci.digest import Digest

_WHITEOUT: Final = WHITEOUT.encode()
_OPAQUE: Final = OPAQUE.encode()
_RESERVED: Final = b".wh..wh."  # what aufs keeps for itself; nothing of it is part of the image
_ASIDE: Final = _RESERVED + b"distore"  # so that no layer can have it
_UNTOLD: Final = Meta(mode=0o755)  # of a folder that only the names in it tell of
_MAX_REMEMBERED: Final = 65_536  # folders whose real path is kept
_OWNER: Final = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was applied.

    Args:
        diff_id: The digest of the plain tar file; the caller compares it.
        size: Its bytes.
        left_out: Devices and extended attributes that could not, or must not, be made.
    """

    diff_id: Digest
    size: int
    left_out: int


def apply(
    layer: Input, root: str, options: ApplyOptions, *, subject: str, algorithm: str = DEFAULT_ALGORITHM
) -> Applied:
    """Lay a plain tar file over the folder ``root``, which nobody else changes meanwhile.

    Nothing is synced. After an error the folder is in between, and good for nothing.

    Args:
        layer: Its bytes, read to their end in another thread.
        subject: What messages call it.
        algorithm: Of the DiffID.
    Raises:
        FailedPrecondition: Not a tar file, a name that leads out of the folder, or what no folder
            can be made to have.
        ResourceExhausted: Over a limit; DiskFull, QuotaExceeded: no room.
        DataLoss: Damaged or truncated.
        PermissionDenied: A device, or an owner, that takes more rights.
        Unimplemented: A sparse member, or one of an unknown kind.
    """
    ahead = ReadAhead(layer, algorithm=algorithm, limit=options.max_size, subject=subject)
    with closing(ahead), _open_root(root, options, subject) as folder:
        laid = _Layer(folder, options, subject)
        try:
            for found in members(ahead, subject=subject):
                if isinstance(found, Member):
                    laid.lay(found)
                else:
                    laid.write(found)
            laid.finish()
        except OSError as error:
            raise translate(error, laid.at) from error
        finally:
            laid.close()
    return Applied(diff_id=ahead.digest(), size=ahead.size, left_out=laid.left_out)


def _open_root(path: str, options: ApplyOptions, subject: str) -> Root:
    try:
        return Root(path, unlock=not options.as_root)
    except OSError as error:
        raise translate(error, f"{subject}: folder {path}") from error


class _Kept:
    """What a folder that no member tells of had before something in it changed."""

    __slots__ = ("times",)

    def __init__(self, info: os.stat_result) -> None:
        self.times = (info.st_atime_ns, info.st_mtime_ns)


class _Layer:
    """One layer on its way."""

    def __init__(self, root: Root, options: ApplyOptions, subject: str) -> None:
        self._root = root
        self._subject = subject
        self._maker = Maker(options, subject)
        self._left = options.max_entries
        self._options = options
        # Real paths that this layer wrote, and all above them: no whiteout hides these. None: the
        # folder was empty, so that there is nothing to hide.
        self._own: set[bytes] | None = set() if root.names(b"") else None
        self._folders: dict[bytes, Meta | _Kept] = {}  # what they get in the end, by real path
        self._before: set[bytes] = set()  # those of them that were there, and are told of
        self._real: dict[bytes, bytes] = {}
        self._file = -1
        self._meta = _UNTOLD
        self.at = subject  # what messages say is at work

    @property
    def left_out(self) -> int:
        """As ``Applied.left_out``."""
        return self._maker.left_out

    def lay(self, member: Member) -> None:
        """The next member."""
        self._end_file()
        self._left -= 1
        if self._left < 0:
            raise ResourceExhausted(f"{self._subject}: more than {self._options.max_entries} members")
        self.at = f"{self._subject}: {shown(member.name)}"
        head, _, base = member.name.encode("utf-8", "surrogateescape").rpartition(b"/")
        if _WHITEOUT in head and self._is_reserved(head):
            return
        if base.startswith(_WHITEOUT):
            self._whiteout(head, base)
        elif base:
            self._put(member, head, base)
        elif member.kind == FOLDER:
            self._tell(b"", member.meta, was_there=True)
        else:
            raise FailedPrecondition(f"{self._subject}: its root is no folder")

    def write(self, data: memoryview) -> None:
        """More bytes of the last member."""
        if self._file >= 0:
            write(self._file, data)

    def finish(self) -> None:
        """All members came: give the folders their times, which everything in them changed."""
        self._end_file()
        # Those below another one first: nobody has to get through a folder that is done.
        for path in sorted({*self._folders, *self._root.unlocked}, reverse=True):
            self.at = f"{self._subject}: {shown_path(path)}"
            fd = self._root.open(path)
            try:
                self._finish_folder(path, fd, self._folders.get(path))
            finally:
                os.close(fd)

    def _finish_folder(self, path: bytes, fd: int, told: Meta | _Kept | None) -> None:
        if isinstance(told, Meta):
            if path in self._before:
                self._maker.clear_attributes(fd)
            self._maker.finish(fd, told)
            return
        if told is not None:
            os.utime(fd, ns=told.times)
        if path in self._root.unlocked:
            os.fchmod(fd, self._root.unlocked[path])

    def close(self) -> None:
        """Let go of the open file, whatever became of it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _end_file(self) -> None:
        if self._file >= 0:
            self._maker.finish(self._file, self._meta)
            self.close()

    def _is_reserved(self, head: bytes) -> bool:
        for part in head.split(b"/"):
            if part.startswith(_RESERVED):
                return True
            if part.startswith(_WHITEOUT):
                raise FailedPrecondition(f"{self.at} is in a folder named as a whiteout")
        return False

    def _put(self, member: Member, head: bytes, base: bytes) -> None:
        folder = self._folder(head)
        path = join(folder, base)
        fd = self._touch(folder)
        self._note_own(path, folder)
        if member.kind == FOLDER:
            self._put_folder(path, fd, member.meta)
        elif member.kind == HARD_LINK:
            self._put_link(member, path)
        else:
            try:
                made = self._maker.make(member, fd, base)
            except FileExistsError:
                self._remove(path)
                made = self._maker.make(member, self._touch(folder), base)
            if made is not None:
                self._file, self._meta = made, member.meta

    def _put_folder(self, path: bytes, fd: int, meta: Meta) -> None:
        was_there = False
        try:
            self._mkdir(path, fd)
        except FileExistsError:
            mode = self._root.kind(path)
            was_there = mode is not None and stat.S_ISDIR(mode)
            if not was_there:  # also a link to a folder: its target is not what the layer means
                self._remove(path)
                self._mkdir(path, self._touch(path.rpartition(b"/")[0]))
        self._tell(path, meta, was_there=was_there)

    def _put_link(self, member: Member, path: bytes) -> None:
        head, _, source = member.link.encode("utf-8", "surrogateescape").rpartition(b"/")
        folder = self._root.real(head, make=None) if source else None
        target = None if folder is None else join(folder, source)
        mode = None if target is None else self._root.kind(target)
        if folder is None or target is None or mode is None or stat.S_ISDIR(mode):
            what = "not there" if mode is None and source else "no file"
            raise FailedPrecondition(f"{self.at} is a hard link to {shown(member.link)}, which is {what}")
        parent, _, base = path.rpartition(b"/")
        fds = {"src_dir_fd": self._root.folder(folder), "dst_dir_fd": self._root.folder(parent)}
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
            fd = self._touch(parent)
            os.rename(_ASIDE, base, src_dir_fd=fd, dst_dir_fd=fd)

    def _whiteout(self, head: bytes, base: bytes) -> None:
        if base.startswith(_RESERVED) and base != _OPAQUE:
            return
        hidden = base[len(_WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise FailedPrecondition(f"{self.at} is a whiteout of nothing")
        folder = self._root.real(head, make=None) if self._own is not None else None
        if folder is None:
            return
        if base == _OPAQUE:
            self._hide_below(folder)
        elif (mode := self._root.kind(path := join(folder, hidden))) is not None:
            self._hide(path, is_folder=stat.S_ISDIR(mode))

    def _hide(self, path: bytes, *, is_folder: bool) -> None:
        assert self._own is not None
        if path not in self._own:
            self._touch(path.rpartition(b"/")[0])
            self._remove(path)
        elif is_folder:
            self._hide_below(path)

    def _hide_below(self, folder: bytes) -> None:
        assert self._own is not None
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            for name, is_folder in self._root.names(at):
                path = join(at, name)
                if path not in self._own:
                    self._touch(at)
                    self._remove(path)
                elif is_folder:
                    waiting.append(path)

    def _folder(self, head: bytes) -> bytes:
        """The real path of the folder of a name, made as far as it is missing."""
        real = self._real.get(head)
        if real is None:
            real = self._root.real(head, make=self._make_missing)
            assert real is not None
            if len(self._real) >= _MAX_REMEMBERED:
                self._real.clear()
            self._real[head] = real
        return real

    def _make_missing(self, path: bytes) -> None:
        self._remove(path)  # a file in the way
        folder = path.rpartition(b"/")[0]
        self._mkdir(path, self._touch(folder))
        self._note_own(path, folder)
        self._tell(path, _UNTOLD, was_there=False)

    def _mkdir(self, path: bytes, fd: int) -> None:
        if len(path) >= MAX_NAME:  # nobody could open it; a short name gets here through a link
            raise ResourceExhausted(f"{self.at} makes a path of over {MAX_NAME - 1} bytes")
        os.mkdir(path.rpartition(b"/")[2], _OWNER, dir_fd=fd)

    def _tell(self, path: bytes, meta: Meta, *, was_there: bool) -> None:
        self._folders[path] = meta
        if was_there:
            self._before.add(path)

    def _touch(self, folder: bytes) -> int:
        """A descriptor of a folder, to change names in it; its time is kept."""
        if folder in self._folders:
            return self._root.folder(folder)
        fd = self._root.folder(folder)
        self._folders[folder] = _Kept(os.fstat(fd))
        return fd

    def _note_own(self, path: bytes, folder: bytes) -> None:
        own = self._own
        if own is None:
            return
        own.add(path)
        while folder not in own:
            own.add(folder)
            folder = folder.rpartition(b"/")[0]

    def _remove(self, path: bytes) -> None:
        mode = self._root.kind(path)
        if mode is None:
            return
        self._touch(path.rpartition(b"/")[0])
        for folder in self._root.remove(path):
            self._folders.pop(folder, None)
            self._before.discard(folder)
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._real.clear()  # a name may lead elsewhere now
