"""Taking in a local file by sharing its blocks, by linking it, or by one pass of hash and copy."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from distore._internal import fsops
from distore._internal.oserrors import translated
from distore.errors import FailedPrecondition, InvalidArgument, Unimplemented

if TYPE_CHECKING:
    from distore.content.local.paths import IngestPaths
    from distore.content.local.writer import LocalWriter

LINKS: Final = ("auto", "reflink", "hardlink", "copy")
# What a file system answers that cannot share blocks, or not between these two files.
_CANNOT: Final = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EMLINK}
)


def fill(source: str, writer: LocalWriter, paths: IngestPaths, *, link: str) -> None:
    """Fill ``writer`` with the bytes of ``source``; what it kept before is dropped.

    Args:
        link: ``reflink`` shares the blocks (copy on write: safe), ``hardlink`` makes the blob a
            second name of the file, which becomes read-only and must never be written again,
            ``copy`` copies, ``auto`` tries reflink and then copies.
    Raises:
        Unimplemented: The file system cannot do what was asked.
        FailedPrecondition: ``source`` is not a regular file.
    """
    if link not in LINKS:
        raise InvalidArgument(f"link {link!r}: want one of {', '.join(LINKS)}")
    with translated(f"file {source}"):
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FailedPrecondition(
                    f"file {source}: not a regular file; pipe it to standard input instead"
                )
            _fill(fd, source, writer, paths, link)
        finally:
            os.close(fd)


def _fill(fd: int, source: str, writer: LocalWriter, paths: IngestPaths, link: str) -> None:
    if writer.offset:
        writer.truncate()
    if link == "copy":
        _copy(fd, writer)
        return
    try:
        if link == "hardlink":
            fsops.unlink(paths.data)
            fsops.link(os.path.realpath(source), paths.data)
            if not os.path.samestat(os.fstat(fd), os.lstat(paths.data)):
                raise FailedPrecondition(f"file {source}: replaced while it was taken in")
        else:
            fsops.clone(fd, writer.fileno())
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        if link != "auto":
            raise Unimplemented(
                f"file {source}: no {link} possible into this store ({error.strerror}); use --link=copy"
            ) from error
        _copy(fd, writer)
        return
    writer.adopt()


def _copy(fd: int, writer: LocalWriter) -> None:
    """One read of the source feeds the digest and the copy at the same time."""
    with open(fd, "rb", buffering=0, closefd=False) as file:
        writer.fill(file)
