"""Table: one table of a configuration file, read key by key; what nobody asked for is an error."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from distore._internal.gotime import parse_duration
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SUFFIXES: Final = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_MAX_DIGITS: Final = 18


class Table:
    """Reads ``values``; each method takes a key away and gives ``default`` when it is missing.

    Args:
        where: What messages begin with, such as ``serve.toml: [cache]``.
        folder: What relative paths start from.
    Raises:
        InvalidArgument: From every method: the value is of another kind; names file, table and key.
    """

    def __init__(self, values: Mapping[str, object], *, where: str, folder: str) -> None:
        self._values = dict(values)
        self.where = where
        self.folder = folder

    def text(self, key: str, default: str | None = None) -> str | None:
        """A string that is not empty."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "want a text")
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of strings, or one."""
        value = self._take(key)
        if value is None:
            return default
        given = [value] if isinstance(value, str) else value
        if not isinstance(given, list) or not all(isinstance(part, str) and part for part in given):
            raise self.wrong(key, "want a list of texts")
        return tuple(given)

    def flag(self, key: str, default: bool = False) -> bool:
        """true or false."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, "want true or false")
        return value

    def number(
        self, key: str, default: int | None = None, *, least: int = 0, most: int = 2**31
    ) -> int | None:
        """A whole number."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, f"want a whole number from {least} to {most}")
        return value

    def share(self, key: str, default: float | None = None) -> float | None:
        """A part of a whole: above 0, up to 1."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
            raise self.wrong(key, "want a number above 0 and up to 1, such as 0.95")
        return float(value)

    def size(self, key: str, default: int | None = None) -> int | None:
        """Bytes: a number, or a text such as ``50G`` or ``512Mi``."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str):
            text = value.strip().lower().removesuffix("b")
            digits = text.rstrip("kmgti")
            factor = _SUFFIXES.get(text[len(digits) :])
            if factor and digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS:
                return int(digits) * factor
        raise self.wrong(key, "want a number of bytes, such as 512Mi or 50G")

    def seconds(self, key: str, default: float | None = None) -> float | None:
        """A duration: a text such as ``90s``, ``24h`` or ``30d``, or 0. Of a number nobody knows the unit."""
        value = self._take(key)
        if value is None:
            return default
        if value == 0 and not isinstance(value, bool):
            return 0.0
        if isinstance(value, str):
            try:
                return parse_days(value)
            except InvalidArgument:
                pass
        raise self.wrong(key, "want a duration, such as 90s, 24h or 30d")

    def path(self, key: str, default: str | None = None) -> str | None:
        """The path of a file, from the folder of the configuration file on."""
        value = self.text(key)
        return default if value is None else os.path.join(self.folder, os.path.expanduser(value))

    def table(self, key: str) -> Table:
        """A table within; an empty one when it is missing."""
        value = self._take(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.wrong(key, "want a table")
        return Table(value, where=f"{self.where} [{key}]", folder=self.folder)

    def tables(self, key: str) -> list[Table]:
        """A list of tables, as ``[[key]]`` writes them."""
        value = self._take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            raise self.wrong(key, f"want tables, written as [[{key}]]")
        return [
            Table(part, where=f"{self.where} [[{key}]] {number}", folder=self.folder)
            for number, part in enumerate(value, start=1)
        ]

    def is_list(self, key: str) -> bool:
        """Whether the key, which stays, has a list or tables."""
        return isinstance(self._values.get(key), list)

    def keys(self) -> Iterator[str]:
        """What nobody has asked for yet."""
        return iter(list(self._values))

    def done(self) -> None:
        """Refuse what nobody asked for."""
        for key in self._values:
            raise self.wrong(key, "no such setting")

    def wrong(self, key: str, what: str) -> InvalidArgument:
        """The error about a key."""
        return InvalidArgument(f"{self.where}: {key[:60]!a}: {what}")

    def _take(self, key: str) -> object:
        return self._values.pop(key, None)


def parse_days(text: str) -> float:
    """Seconds, of Go's duration syntax with days, too (``30d``, ``1d12h``).

    Raises:
        InvalidArgument: It is none.
    """
    days, separator, rest = text.partition("d")
    if separator and days.isascii() and days.isdecimal() and len(days) <= 6:
        return int(days) * 86400 + (parse_duration(rest) if rest else 0.0)
    return parse_duration(text)
