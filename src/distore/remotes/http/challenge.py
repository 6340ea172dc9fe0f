"""WWW-Authenticate: what a server wants to see before it answers (RFC 9110, section 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_LENGTH: Final = 8192  # characters of all challenges together; the rest is not read
MAX_PARAMETERS: Final = 32  # of one challenge
_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SPACE: Final = " \t"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One of the ways to authenticate; ``scheme`` and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Every challenge in the headers; what does not parse is left out, never an error."""
    found: list[Challenge] = []
    room = MAX_LENGTH
    for header in headers:
        found += _Parser(header[:room]).challenges()
        room = max(0, room - len(header))
    return tuple(found)


class _Parser:
    """Reads from left to right once; a comma may end a parameter or a challenge."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def challenges(self) -> list[Challenge]:
        found: list[Challenge] = []
        while self._at < len(self._text):
            self._skip(_SPACE + ",")
            scheme = self._word()
            if not scheme:
                self._at += 1  # a character that belongs nowhere
                continue
            self._skip(_SPACE)
            found.append(Challenge(scheme=scheme.lower(), parameters=self._parameters()))
        return found

    def _parameters(self) -> dict[str, str]:
        parameters: dict[str, str] = {}
        while len(parameters) < MAX_PARAMETERS:
            start = self._at
            self._skip(_SPACE + ",")
            name = self._word()
            self._skip(_SPACE)
            if not name or self._peek() != "=":
                self._at = start  # the next challenge, or the end
                break
            self._at += 1
            self._skip(_SPACE)
            value = self._quoted() if self._peek() == '"' else self._word()
            parameters.setdefault(name.lower(), value)
        return parameters

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, characters: str) -> None:
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1

    def _word(self) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in _TOKEN:
            self._at += 1
        return self._text[start : self._at]

    def _quoted(self) -> str:
        self._at += 1
        value: list[str] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == '"':
                break
            if character == "\\":
                character = self._peek()
                self._at += 1
            value.append(character)
        return "".join(value)
