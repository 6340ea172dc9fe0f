"""What can go wrong below HTTP, as our errors."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from urllib3 import exceptions

from distore._internal.retry import with_few_tries
from distore.errors import DeadlineExceeded, DistoreError, FailedPrecondition, InvalidArgument, Unavailable
from distore.remotes.http.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_ABORTED: Final = "aborted"


def network_error(error: Exception, where: str, *, expired: bool, patience: float) -> DistoreError:
    """Our error for one of urllib3's.

    Args:
        where: Host and port, the subject of the message.
        expired: Whether the time allowed for everything has run out.
        patience: Seconds that were waited, for timeouts.
    """
    if isinstance(error, exceptions.LocationValueError):
        return InvalidArgument(f"{where}: not a host that can be asked")
    if isinstance(error, exceptions.ConnectTimeoutError) and not isinstance(
        error, exceptions.NewConnectionError
    ):
        return _late(f"{where}: no connection after {patience:.3g} s", expired)
    if isinstance(error, exceptions.ReadTimeoutError):
        return _late(f"{where}: nothing came for {patience:.3g} s", expired)
    if isinstance(error, exceptions.SSLError):
        return _tls_error(error, where)
    if isinstance(error, exceptions.ProxyError):
        return Unavailable(f"{where}: cannot connect through the proxy: {_reason(error)}")
    if isinstance(error, exceptions.NameResolutionError):
        return with_few_tries(Unavailable(f"{where}: the name is not known"))
    if isinstance(error, exceptions.NewConnectionError):
        return with_few_tries(Unavailable(f"{where}: cannot connect: {_reason(error)}"))
    return Unavailable(f"{where}: the connection broke off: {_reason(error)}")


def with_abort(error: DistoreError) -> DistoreError:
    """``error`` itself, marked as one that ``abort`` led to: it says nothing about the host."""
    error.__dict__[_ABORTED] = True
    return error


def is_abort(error: DistoreError) -> bool:
    """Whether it was marked by ``with_abort``."""
    return _ABORTED in error.__dict__


def _late(message: str, expired: bool) -> DistoreError:
    return DeadlineExceeded(f"{message}; the time allowed is over") if expired else Unavailable(message)


def _tls_error(error: Exception, where: str) -> DistoreError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = (cause.verify_message or str(cause)).lower()
            return FailedPrecondition(
                f"{where}: its certificate is not trusted: {why}; --ca names a CA to trust"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            return FailedPrecondition(f"{where}: speaks no TLS; --plain-http talks HTTP to it")
    return Unavailable(f"{where}: TLS failed: {_reason(error)}")


def _reason(error: Exception) -> str:
    """The innermost thing that says something, on one short line."""
    texts = []
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return one_line(cause.strerror.lower())
        if not isinstance(cause, exceptions.HTTPError):
            texts.append(one_line(str(cause))[:120])  # it may quote what the other side sent
        if isinstance(cause, exceptions.IncompleteRead):
            texts.append(f"{cause.expected} bytes are missing")
    return next((text for text in texts if text), type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error``, what it wraps, and what caused it."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        at = waiting.pop(0)
        if at is None or any(at is other for other in seen):
            continue
        seen.append(at)
        yield at
        waiting += [arg for arg in at.args if isinstance(arg, BaseException)]
        waiting += [getattr(at, "original_error", None), at.__cause__, at.__context__]
