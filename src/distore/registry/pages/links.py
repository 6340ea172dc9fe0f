"""Links: where each page is; a repository cannot have a colon or an @ in its name, so tags come after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

HOME: Final = "/"
RUNNING: Final = "/ui/running"
RUNNING_JSON: Final = "/ui/running.json"
REPOSITORY: Final = "/ui/r/"
RAW: Final = "/ui/raw/"
LOGIN: Final = "/login"  # answered by the gate
STATIC: Final = "/ui/static/"


class Place(NamedTuple):
    """What ``REPOSITORY[:TAG|@DIGEST]`` names; ``name`` is the tag or the digest, empty without."""

    repository: str
    name: str
    is_digest: bool = False

    def __str__(self) -> str:
        mark = "@" if self.is_digest else ":"
        return f"{self.repository}{mark}{self.name}" if self.name else self.repository


def place_of(text: str) -> Place:
    """Of the end of a path; whether there is such a thing is another question."""
    repository, at, digest = text.partition("@")
    if at:
        return Place(repository, digest, is_digest=True)
    repository, _, tag = text.partition(":")
    return Place(repository, tag)


def repository(name: str) -> str:
    """The page of a repository."""
    return REPOSITORY + quote(name)


def image(place: Place) -> str:
    """The page of a manifest."""
    return REPOSITORY + quote(str(place), safe="/:@")


def raw(name: str, digest: str) -> str:
    """The page that shows a document as it is."""
    return RAW + quote(f"{name}@{digest}", safe="/:@")


def query(path: str, values: Mapping[str, str | None]) -> str:
    """With the parameters that have a value."""
    given = {key: value for key, value in values.items() if value}
    return f"{path}?{urlencode(given, errors='replace')}" if given else path
