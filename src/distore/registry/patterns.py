"""Patterns: which repositories or tags a rule is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PATTERN: Final = 300  # characters
_ANY_DEPTH: Final = "**"


@dataclass(frozen=True, slots=True)
class Patterns:
    """Names that match one of ``included`` and none of ``excluded``; nothing included: every name.

    ``*`` stands for any text within one component of a name, ``?`` for one character, a component ``**``
    for any number of components, none as well.
    """

    included: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Patterns:
        """Of a list, in which ``!`` begins what is left out.

        Raises:
            InvalidArgument: One of them is empty or too long.
        """
        included: list[str] = []
        excluded: list[str] = []
        for text in texts:
            pattern = text.removeprefix("!")
            if not pattern or len(pattern) > MAX_PATTERN:
                raise InvalidArgument(f"pattern {text[:80]!a}: want 1 to {MAX_PATTERN} characters")
            (excluded if text.startswith("!") else included).append(pattern)
        return cls(tuple(included), tuple(excluded))

    def match(self, name: str) -> bool:
        """Whether the rule is about ``name``."""
        if self.included and not any(matches(pattern, name) for pattern in self.included):
            return False
        return not any(matches(pattern, name) for pattern in self.excluded)

    def __str__(self) -> str:
        return ", ".join((*(self.included or (_ANY_DEPTH,)), *(f"!{pattern}" for pattern in self.excluded)))


EVERY: Final = Patterns()


def matches(pattern: str, name: str) -> bool:
    """Whether ``name`` is as ``pattern`` says; takes no longer than the product of their lengths."""
    parts = name.split("/")
    # reached[n]: the first n components of the name match what of the pattern has been looked at.
    reached = [True, *(False for _ in parts)]
    for component in pattern.split("/"):
        if component == _ANY_DEPTH:
            for index in range(1, len(reached)):
                reached[index] = reached[index] or reached[index - 1]
        else:
            reached = [
                False,
                *(before and _fits(component, part) for before, part in zip(reached, parts, strict=False)),
            ]
    return reached[-1]


def _fits(pattern: str, text: str) -> bool:
    """One component. Only the last star can be in the wrong place: going back to it is enough."""
    at = index = 0
    star = resume = -1
    while index < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume, at = at, index, at + 1
        elif at < len(pattern) and pattern[at] in ("?", text[index]):
            at, index = at + 1, index + 1
        elif star >= 0:
            resume += 1
            at, index = star + 1, resume
        else:
            return False
    return all(rest == "*" for rest in pattern[at:])
