"""Words of verbs that change images: variables, commands, times."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse

EPOCH: Final = "SOURCE_DATE_EPOCH"  # reproducible-builds.org
_MAX_SECONDS: Final = 253402300799  # the end of the year 9999
_SHOWN: Final = 60


def add_config(parser: argparse.ArgumentParser) -> None:
    """What an image runs."""
    parser.add_argument(
        "--env", action="append", type=variable, default=[], metavar="NAME=VALUE", help="set a variable"
    )
    parser.add_argument(
        "--unset-env", action="append", default=[], metavar="NAME", help="remove a variable, before --env"
    )
    parser.add_argument(
        "--label", action="append", type=pair, default=[], metavar="KEY=VALUE", help="KEY= removes it"
    )
    entrypoint = "a JSON list, or words as a shell splits them; '' removes it; a new one drops the old cmd"
    for flag, text in (("--entrypoint", entrypoint), ("--cmd", "the same for its arguments")):
        parser.add_argument(flag, type=command_words, metavar="WORDS", help=text)
    parser.add_argument("--user", metavar="USER[:GROUP]", help="'' removes it")
    parser.add_argument("--workdir", metavar="PATH", help="where the process starts")


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
