"""OSError -> the class of distore.errors that says what to do about it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from distore import errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_CLASSES: Final[Mapping[int, type[errors.DistoreError]]] = {
    errno.ENOSPC: errors.DiskFull,
    errno.EDQUOT: errors.QuotaExceeded,
    errno.EROFS: errors.ReadOnly,
    errno.EACCES: errors.PermissionDenied,
    errno.EPERM: errors.PermissionDenied,
    errno.EIO: errors.DataLoss,
    errno.ENOENT: errors.NotFound,
    errno.EMFILE: errors.ResourceExhausted,
    errno.ENFILE: errors.ResourceExhausted,
    errno.ENOMEM: errors.ResourceExhausted,
    errno.EFBIG: errors.ResourceExhausted,
    errno.ENOLCK: errors.Unavailable,
    errno.ESTALE: errors.Unavailable,
    errno.ETXTBSY: errors.Unavailable,
    errno.EOPNOTSUPP: errors.Unimplemented,
    errno.ENOSYS: errors.Unimplemented,
}


def translate(error: OSError, subject: str) -> errors.DistoreError:
    """The error to raise ``from error``; ``subject`` starts the message."""
    number = error.errno or 0
    message = f"{subject}: {os.strerror(number).lower() if number else error}"
    if isinstance(error.filename, str) and error.filename not in message:
        message += f" ({error.filename})"
    return _CLASSES.get(number, errors.FailedPrecondition)(message)


class translated:  # noqa: N801 - reads as the verb it is: `with translated("ingest 'x'"):`
    """Context manager: an OSError that leaves the block becomes ours, naming ``subject``."""

    def __init__(self, subject: str) -> None:
        self._subject = subject

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise translate(error, self._subject) from error
