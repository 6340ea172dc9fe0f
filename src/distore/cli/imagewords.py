"""Words of verbs that change images: variables, commands, times."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import Final

from distore.errors import InvalidArgument

EPOCH: Final = "SOURCE_DATE_EPOCH"  # reproducible-builds.org
_MAX_SECONDS: Final = 253402300799  # the end of the year 9999
_SHOWN: Final = 60


def pair(text: str) -> tuple[str, str]:
    """A key and a value.

    Raises:
        InvalidArgument: None.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidArgument(f"{text[:_SHOWN]!r}: want KEY=VALUE, or KEY= to remove it")
    return key, value


def variable(text: str) -> tuple[str, str]:
    """A variable and its value.

    Raises:
        InvalidArgument: None.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidArgument(f"--env {text[:_SHOWN]!r}: want NAME=VALUE; --unset-env removes one")
    return name, value


def command_words(text: str) -> tuple[str, ...]:
    """A JSON list of strings, or words split as a shell does.

    Raises:
        InvalidArgument: Neither.
    """
    wrong = InvalidArgument(f"command {text[:_SHOWN]!r}: want a JSON list of strings, or words")
    try:
        words = json.loads(text) if text.lstrip().startswith("[") else shlex.split(text)
    except (ValueError, RecursionError) as error:
        raise wrong from error
    if not all(isinstance(word, str) for word in words):
        raise wrong
    return tuple(words)


def seconds_of(text: str, subject: str) -> int:
    """Seconds since the epoch, of a number of them or of RFC 3339.

    Args:
        subject: What messages call it.
    Raises:
        InvalidArgument: Neither.
    """
    if text.isascii() and text.isdecimal() and len(text) < 14 and int(text) <= _MAX_SECONDS:
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(
            f"{subject} {text[:_SHOWN]!r}: want a time such as 2026-01-31T12:00:00Z, or seconds since 1970"
        ) from error
    if found.tzinfo is None:
        raise InvalidArgument(f"{subject} {text[:_SHOWN]!r}: has no time zone; Z is UTC")
    return max(0, int(found.timestamp()))


def rfc3339(seconds: int) -> str:
    """Seconds since the epoch as configs of images have them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
