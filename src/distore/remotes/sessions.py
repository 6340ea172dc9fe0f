"""Upload sessions: uploads that were begun and not ended, kept so that another try can go on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from distore._internal import fsops

if TYPE_CHECKING:
    from distore.oci.digest import Digest

_MAX_SIZE: Final = 64 * 1024  # bytes of one file


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """``location`` is the URL that a registry gave for the rest of an upload, which may hold a
    signature; ``offset`` bytes were taken."""

    location: str = field(repr=False)
    offset: int


class Sessions(Protocol):
    """Keeps sessions by repository and digest; losing one costs time and nothing else."""

    def take(self, repository: str, digest: Digest, /) -> Session | None:
        """The session that was kept, for the caller alone: it is not kept any more."""
        ...

    def keep(self, repository: str, digest: Digest, session: Session, /) -> None:
        """Remember how far an upload is."""
        ...

    def forget(self, repository: str, digest: Digest, /) -> None:
        """It has ended."""
        ...


class NoSessions:
    """Keeps nothing."""

    def take(self, repository: str, digest: Digest, /) -> Session | None:
        return None

    def keep(self, repository: str, digest: Digest, session: Session, /) -> None:
        """Every try begins anew."""

    def forget(self, repository: str, digest: Digest, /) -> None:
        """There is nothing to forget."""


class FileSessions:
    """One small file for each session in ``folder``, which only its owner may read. A folder that
    takes no writes keeps nothing; that is no error."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def take(self, repository: str, digest: Digest, /) -> Session | None:
        path = self._path(repository, digest)
        mine = f"{path}.{os.getpid()}"
        try:
            os.rename(path, mine)  # of two processes one gets it
        except OSError:
            return None
        try:
            return _session(json.loads(_own(mine)))
        except (OSError, ValueError, RecursionError):
            return None
        finally:
            with suppress(OSError):
                os.unlink(mine)  # whatever is in it

    def keep(self, repository: str, digest: Digest, session: Session, /) -> None:
        path = self._path(repository, digest)
        try:
            fsops.ensure_directory(self._folder)
            aside = f"{path}.new-{os.getpid()}"
            with suppress(FileNotFoundError):
                fsops.unlink(aside)  # somebody else may have it open
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fsops.write(fd, json.dumps(asdict(session)).encode(), 0)
            finally:
                os.close(fd)
            fsops.rename(aside, path)
        except OSError:
            return

    def forget(self, repository: str, digest: Digest, /) -> None:
        with suppress(OSError):  # it was taken
            fsops.unlink(self._path(repository, digest))
        with suppress(OSError):  # it has others, or never was
            fsops.remove_directory(self._folder)

    def _path(self, repository: str, digest: Digest) -> str:
        key = hashlib.sha256(f"{repository} {digest}".encode()).hexdigest()
        return os.path.join(self._folder, key)


def _own(path: str) -> bytes:
    """What a file says that this user wrote: anybody who may write the folder could say where an upload
    goes on, or leave a pipe that never ends.

    Raises:
        OSError: It is another's, or no file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        there = os.fstat(fd)
        if not stat.S_ISREG(there.st_mode) or there.st_uid != os.geteuid():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return file.read(_MAX_SIZE)


def _session(document: object) -> Session | None:
    if not isinstance(document, dict):
        return None
    location, offset = document.get("location"), document.get("offset")
    if not isinstance(location, str) or not isinstance(offset, int) or offset < 0:
        return None
    return Session(location=location, offset=offset)
