"""Every error distore raises on purpose, and the exit status of ``dist`` for each.

The class tells the caller what to do next; it maps to the gRPC code of the same name::

    DistoreError
    ├── InvalidArgument        mend the call
    ├── NotFound               it is not there
    │   └── CommandNotFound    a container has no such program
    ├── AlreadyExists          it is there: nothing left to do
    ├── FailedPrecondition     the state is not the one the call needs
    │   ├── SizeMismatch       not as many bytes as promised
    │   ├── DigestMismatch     not the bytes that were promised
    │   └── UnsupportedStore   made by a newer version
    ├── OutOfRange             past the end
    ├── Unavailable            try again later
    │   └── Locked             another process writes this ingest
    ├── DeadlineExceeded       took too long
    ├── Cancelled              somebody asked to stop
    ├── PermissionDenied       not allowed
    │   ├── ReadOnly           the file system or store takes no writes
    │   └── CommandNotExecutable   a container's program is none
    ├── Unauthenticated        credentials are missing or wrong
    ├── ResourceExhausted      make room or wait
    │   ├── DiskFull           no space left
    │   └── QuotaExceeded      the quota is used up
    ├── Unimplemented          this peer or file system cannot do it
    └── DataLoss               bytes that were stored are damaged or unreadable
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from datetime import datetime


class DistoreError(Exception):
    """Root of the tree; the message is one line, lower case, and names the subject."""

    exit_code: ClassVar[int] = 1


class InvalidArgument(DistoreError):
    """The call itself is wrong: a bad digest, a bad reference, a negative size."""

    exit_code = 2


class NotFound(DistoreError):
    """The named thing does not exist."""

    exit_code = 11


class CommandNotFound(NotFound):
    """The program that a container is to run is not in its files; ``dist run`` ends with 127, as a shell."""

    exit_code = 30


class AlreadyExists(DistoreError):
    """The thing to be made is there already; ``subject`` names it (for content: its digest)."""

    exit_code = 12

    def __init__(self, message: str, *, subject: str | None = None) -> None:
        super().__init__(message)
        self.subject = subject


class FailedPrecondition(DistoreError):
    """The system is not in the state the call needs; the call changed nothing."""

    exit_code = 14


class SizeMismatch(FailedPrecondition):
    """``ref`` holds ``actual`` bytes, not the ``expected`` number that was promised."""

    exit_code = 21

    def __init__(self, *, ref: str, expected: int, actual: int) -> None:
        super().__init__(f"ingest {ref!r}: expected {expected} bytes, got {actual}")
        self.ref, self.expected, self.actual = ref, expected, actual


class DigestMismatch(FailedPrecondition):
    """The bytes written to ``ref`` do not hash to the digest that was promised."""

    exit_code = 20

    def __init__(self, *, ref: str, expected: str, actual: str) -> None:
        super().__init__(f"ingest {ref!r}: expected {expected}, got {actual}")
        self.ref, self.expected, self.actual = ref, expected, actual


class UnsupportedStore(FailedPrecondition):
    """The store was made by a newer version; nothing was read or written."""

    exit_code = 22


class OutOfRange(DistoreError):
    """An offset lies outside the thing it points into."""

    exit_code = 15


class Unavailable(DistoreError):
    """It may work later: the only class that a retry is for."""

    exit_code = 13


class Locked(Unavailable):
    """Another writer holds the ingest ``ref``; owner fields are None where they are unknown."""

    exit_code = 23

    def __init__(
        self,
        message: str,
        *,
        ref: str,
        pid: int | None = None,
        host: str | None = None,
        command: str | None = None,
        since: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.ref, self.pid, self.host, self.command, self.since = ref, pid, host, command, since


class DeadlineExceeded(DistoreError):
    """The time allowed ran out; what was received stays resumable."""

    exit_code = 24


class Cancelled(DistoreError):
    """The work was stopped on request; what was received stays resumable."""

    exit_code = 25


class PermissionDenied(DistoreError):
    """The operating system or the peer forbids it."""

    exit_code = 16


class ReadOnly(PermissionDenied):
    """The file system takes no writes."""

    exit_code = 26


class CommandNotExecutable(PermissionDenied):
    """What a container is to run is there, and no program; ``dist run`` ends with 126, as a shell."""

    exit_code = 31


class Unauthenticated(DistoreError):
    """The peer wants credentials, or others than it got."""

    exit_code = 17


class ResourceExhausted(DistoreError):
    """A limit was reached: a size cap, a rate, open files."""

    exit_code = 18


class DiskFull(ResourceExhausted):
    """No space left on the device; what was received stays resumable."""

    exit_code = 27


class QuotaExceeded(ResourceExhausted):
    """The user's disk quota is used up; what was received stays resumable."""

    exit_code = 28


class Unimplemented(DistoreError):
    """The peer, file system or build cannot do this."""

    exit_code = 19


class DataLoss(DistoreError):
    """Stored bytes are damaged or the device cannot read or write them."""

    exit_code = 29
