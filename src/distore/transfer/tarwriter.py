"""TarWriter: a tar file that appears under its name when it is complete, and never before."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore._internal.oserrors import translated
from distore.errors import AlreadyExists, FailedPrecondition, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

_MODE: Final = 0o644  # of members
# A file system without second names says one of these to link().
_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def header(name: str, size: int) -> bytes:
    """The header of a member; the same for the same, on every machine and day."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, _MODE
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


class OpenMember:
    """One member that is being written. Without a ``name`` at the end it leaves no trace."""

    def __init__(self, writer: TarWriter) -> None:
        self._writer = writer
        self.name: str | None = None
        self.size = 0  # bytes

    def write(self, data: ReadableBuffer) -> None:
        """Append all of ``data``."""
        self._writer.write(data)
        self.size += memoryview(data).nbytes


class TarWriter:
    """Writes beside ``path`` and moves it there with ``finish``. One thread at a time.

    Args:
        overwrite: Replace a file that is there.
        subject: What messages call it.
    Raises:
        AlreadyExists: It is there.
        FailedPrecondition: It is there and no regular file.
        NotFound: Its folder is missing.
    """

    def __init__(self, path: str, *, overwrite: bool, subject: str) -> None:
        # A link stays a link: what it leads to is replaced.
        self._path = os.path.realpath(path) if overwrite else os.path.abspath(path)
        self._overwrite = overwrite
        self._subject = subject
        self._offset = 0
        self._temporary, self._fd = "", -1
        try:
            with translated(subject):
                self._check_target()
                self._create()
        except BaseException:  # a signal, too
            self._remove()
            raise

    def write(self, data: ReadableBuffer) -> None:
        """Append raw bytes."""
        if self._fd < 0:
            raise FailedPrecondition(f"{self._subject}: written already, or given up")
        with translated(self._subject):
            fsops.write(self._fd, data, self._offset)
        self._offset += memoryview(data).nbytes

    @contextmanager
    def member(self, room: int = tarfile.BLOCKSIZE) -> Iterator[OpenMember]:
        """Write one member and tell its ``name`` in the end; an error takes it back.

        Args:
            room: Bytes of its header, as ``header`` makes it.
        """
        start = self._offset
        member = OpenMember(self)
        try:
            self.write(bytes(room))
            yield member
            if member.name is not None:
                block = header(member.name, member.size)
                if len(block) != room:
                    raise FailedPrecondition(f"{self._subject}: no room for the name {member.name[:80]!a}")
                with translated(self._subject):
                    fsops.write(self._fd, block, start)
                self.write(bytes(-member.size % tarfile.BLOCKSIZE))
        except BaseException:
            self._back_to(start)
            raise
        if member.name is None:
            self._back_to(start)

    def add(self, name: str, data: bytes) -> None:
        """Write one small member."""
        with self.member(len(header(name, len(data)))) as member:
            member.write(data)
            member.name = name

    def finish(self) -> None:
        """End the archive, make it durable, and give it its name.

        Raises:
            AlreadyExists: Somebody else was faster.
        """
        try:
            self.write(bytes(2 * tarfile.BLOCKSIZE))
            with translated(self._subject):
                fsops.sync_file(self._fd)
                self._publish()
                fsops.sync_directory(os.path.dirname(self._path))
        finally:
            self.close()

    def close(self) -> None:
        """Give up what is not finished; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        self._remove()

    def _create(self) -> None:
        for number in count():
            self._temporary = f"{self._path}.tmp-{os.getpid()}-{number}"
            try:
                self._fd = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                self._temporary = ""
                continue
            except FileNotFoundError as error:
                self._temporary = ""
                folder = os.path.dirname(self._path)
                raise NotFound(f"{self._subject}: there is no folder {folder[:200]!a}") from error
            return

    def _remove(self) -> None:
        if self._temporary:
            with translated(self._subject), suppress(FileNotFoundError):  # it has its name
                fsops.unlink(self._temporary)

    def _check_target(self) -> None:
        try:
            there = os.lstat(self._path)
        except FileNotFoundError:
            return
        if not self._overwrite:
            raise self._is_there()
        if not stat.S_ISREG(there.st_mode):
            raise FailedPrecondition(f"{self._subject}: not a regular file, and so not replaced")

    def _publish(self) -> None:
        if self._overwrite:
            fsops.rename(self._temporary, self._path)
            return
        try:
            fsops.link(self._temporary, self._path)
        except FileExistsError as error:
            raise self._is_there() from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._check_target()
            fsops.rename(self._temporary, self._path)
        else:
            fsops.unlink(self._temporary)

    def _back_to(self, offset: int) -> None:
        if self._fd >= 0 and self._offset > offset:
            with translated(self._subject):
                fsops.truncate(self._fd, offset)
            self._offset = offset

    def _is_there(self) -> AlreadyExists:
        return AlreadyExists(
            f"{self._subject}: the file is there already; replace it with --force", subject=self._path
        )
