"""What a registry's status and error document mean, as our classes."""

from __future__ import annotations

import base64
import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from distore._internal.retry import with_retry_after
from distore.errors import (
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distore.remotes.http.body import Response

MAX_ERROR_BODY: Final = 64 * 1024  # bytes
_MAX_MESSAGE: Final = 200  # characters of a registry's own words that are shown
_SHORTEST_HIDDEN: Final = 4  # characters; shorter ones are in any text by chance
_MAX_RETRY_AFTER: Final = 86400.0  # seconds; more is as good as never
_CLASSES: Final[dict[int, type[DistoreError]]] = {
    400: InvalidArgument,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    405: Unimplemented,
    406: NotFound,
    408: Unavailable,
    410: NotFound,
    413: ResourceExhausted,
    416: OutOfRange,
    429: Unavailable,
    501: Unimplemented,
    507: ResourceExhausted,
}


def error_from(
    response: Response, subject: str, *, now: Callable[[], datetime] | None = None
) -> DistoreError:
    """The error that an answer stands for; reads and closes it.

    Args:
        subject: Repository and object.
        now: Aware UTC, to make sense of a Retry-After that is a date.
    """
    status = response.status
    try:
        words = _words(response.read_small(MAX_ERROR_BODY), response.secrets)
    except DistoreError:
        words = ""  # the status alone must do
    finally:
        response.close()
    message = f"{subject}: {response.where} answered {status}{f': {words}' if words else ''}"
    kind = _CLASSES.get(status, Unavailable if status >= 500 else FailedPrecondition)
    if kind is Unavailable:
        return with_retry_after(Unavailable(message), patience_asked(response, now=now))
    return kind(message)


def _words(body: bytes, secrets: Iterable[str]) -> str:
    """Codes and messages of the specification's error document, or nothing."""
    try:
        errors = json.loads(body)["errors"]
        texts = [_one(error) for error in errors[:3]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return one_line(_hidden("; ".join(text for text in texts if text), secrets))


def _one(error: object) -> str:
    if not isinstance(error, dict):
        return ""
    code, message = error.get("code"), error.get("message")
    parts = [code.lower() if isinstance(code, str) else "", message if isinstance(message, str) else ""]
    return " ".join(part for part in parts if part)


def _hidden(text: str, secrets: Iterable[str]) -> str:
    """Without the credentials that were shown: there are servers that repeat what they refuse."""
    for secret in secrets:
        scheme, _, shown = secret.rpartition(" ")
        forms = {secret, shown}
        if scheme.lower() == "basic":
            with suppress(ValueError):  # of somebody's own making
                forms.add(base64.b64decode(shown).decode().partition(":")[2])
        for form in sorted(forms, key=len, reverse=True):
            if len(form) >= _SHORTEST_HIDDEN:
                text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)
    return text


def one_line(text: str) -> str:
    """Somebody else's words made safe for a terminal: one line, printable, short."""
    safe = "".join(character if character.isprintable() else " " for character in text[: _MAX_MESSAGE * 4])
    line = " ".join(safe.split())
    return line if len(line) <= _MAX_MESSAGE else line[:_MAX_MESSAGE] + "..."


def patience_asked(response: Response, *, now: Callable[[], datetime] | None = None) -> float | None:
    """Seconds by Retry-After, a number of them or an HTTP date; None when it does not say."""
    text = (response.header("retry-after") or "").strip()[:64]
    if text.isascii() and text.isdecimal():
        return min(float(text), _MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - (now or _utc_now)()).total_seconds()), _MAX_RETRY_AFTER)


def requests_left(response: Response) -> int | None:
    """How many more requests the answer allows, by ``RateLimit-Remaining: 76;w=21600``, or None."""
    text = (response.header("ratelimit-remaining") or "").partition(";")[0].strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _utc_now() -> datetime:
    return datetime.now(UTC)
