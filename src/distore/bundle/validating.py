"""At: a part of a JSON document that is looked at, and where it stands, for messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_DEPTH: Final = 32
_MAX_ITEMS: Final = 65536  # of one list
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class At:
    """An object of a document; ``place`` is its path, such as ``config.json: linux.seccomp``."""

    value: Mapping[str, object]
    place: str

    def wrong(self, key: str, problem: str) -> InvalidArgument:
        """The error that says so."""
        return InvalidArgument(f"{self.where(key)}: {problem}")

    def part(self, key: str, *, required: bool = False) -> At:
        """An object in it; an empty one where there is none."""
        value = self.get(key, required=required)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.wrong(key, "not an object")
        return At(value, self.where(key))

    def entries(self, key: str, *, required: bool = False) -> list[object]:
        """A list in it."""
        value = self.get(key, required=required)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > _MAX_ITEMS:
            raise self.wrong(key, f"not a list of {_MAX_ITEMS} at most")
        return value

    def no_nul(self) -> None:
        """Look that no text of it has a NUL, which would end it for the system, and no depth that
        a reader might not take."""
        waiting: list[tuple[object, int]] = [(self.value, 0)]
        while waiting:
            value, depth = waiting.pop()
            if depth > _MAX_DEPTH:
                raise InvalidArgument(f"{self.place}: objects in objects, more than {_MAX_DEPTH} deep")
            if isinstance(value, str) and "\0" in value:
                raise InvalidArgument(f"{self.place}: a NUL in {value[:_SHOWN]!a}")
            if isinstance(value, dict):
                waiting += [(one, depth + 1) for pair in value.items() for one in pair]
            elif isinstance(value, list):
                waiting += [(one, depth + 1) for one in value]

    def get(self, key: str, *, required: bool) -> object:
        """What stands there, null as nothing."""
        value = self.value.get(key)
        if value is None and required:
            raise self.wrong(key, "missing")
        return value

    def where(self, key: str) -> str:
        """The path of a field."""
        return f"{self.place}{'.' if ': ' in self.place else ': '}{key}"


def text(at: At, key: str, *, required: bool = False) -> str | None:
    """A string."""
    value = at.get(key, required=required)
    if value is not None and not isinstance(value, str):
        raise at.wrong(key, "not a string")
    return value


def path(at: At, key: str, *, required: bool = False) -> str | None:
    """An absolute path."""
    value = text(at, key, required=required)
    if value is not None and not value.startswith("/"):
        raise at.wrong(key, f"{value[:_SHOWN]!a} is not absolute")
    return value


def enum(at: At, key: str, known: frozenset[str], *, required: bool = False) -> str | None:
    """One of some words."""
    value = text(at, key, required=required)
    if value is not None and value not in known:
        raise at.wrong(key, f"{value[:_SHOWN]!a} is none of {', '.join(sorted(known))}")
    return value


def flag(at: At, key: str, *, required: bool = False) -> bool | None:
    """A truth value."""
    value = at.get(key, required=required)
    if value is not None and not isinstance(value, bool):
        raise at.wrong(key, "neither true nor false")
    return value


def integer(at: At, key: str, least: int, most: int, *, required: bool = False) -> int | None:
    """A whole number within bounds."""
    value = at.get(key, required=required)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise at.wrong(key, f"want a whole number from {least} to {most}")
    return value


def strings(at: At, key: str, *, required: bool = False) -> tuple[str, ...]:
    """A list of strings."""
    found = []
    for value in at.entries(key, required=required):
        if not isinstance(value, str):
            raise at.wrong(key, "not a list of strings")
        found.append(value)
    return tuple(found)


def items(at: At, key: str) -> Iterator[At]:
    """The objects of a list."""
    for number, value in enumerate(at.entries(key)):
        if not isinstance(value, dict):
            raise at.wrong(f"{key}[{number}]", "not an object")
        yield At(value, at.where(f"{key}[{number}]"))
