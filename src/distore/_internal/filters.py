"""The filter syntax of containerd's API (containerd pkg/filters), plus order on numbers.

A filter is selectors joined by commas, all of which must match; of several filters one must.
A selector is a field path alone (present), or a path, an operator and a value::

    labels."containerd.io/gc.root",size>1024,digest~=/^sha256:0/

Operators are ``==``, ``!=``, ``~=`` (regular expression, found anywhere) and, ours, ``>``,
``>=``, ``<``, ``<=`` between decimal integers. Paths and values may be quoted with ``"``; the
value of ``~=`` also with ``/`` or ``|``, inside which only that character is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable

    Adaptor = Callable[[tuple[str, ...]], str | None]

MAX_LENGTH: Final = 64 * 1024  # characters
_OPERATORS: Final = ("==", "!=", "~=", ">=", "<=", ">", "<")
_SEPARATORS: Final = frozenset('.,=!~<>"')
_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_HEX_ESCAPES: Final = {"x": 2, "u": 4, "U": 8}


class Selector(NamedTuple):
    """One condition; ``operator`` is None for presence."""

    path: tuple[str, ...]
    operator: str | None
    value: str
    pattern: re.Pattern[str] | None = None

    def match(self, adaptor: Adaptor) -> bool:
        """Whether what ``adaptor`` gives fulfils it."""
        got = adaptor(self.path)
        if self.operator is None:
            return got is not None
        if self.operator == "==":
            return got is not None and got == self.value
        if self.operator == "!=":
            return got != self.value
        if got is None:
            return False
        if self.pattern is not None:
            return self.pattern.search(got) is not None
        return _is_number(got) and _ordered(int(got), self.operator, int(self.value))


class Filter:
    """Any number of filters, parsed; without one everything matches."""

    def __init__(self, alternatives: tuple[tuple[Selector, ...], ...]) -> None:
        self.alternatives = alternatives

    def match(self, adaptor: Adaptor) -> bool:
        """Whether one of the filters matches. ``adaptor`` gives a field's text or None."""
        if not self.alternatives:
            return True
        return any(all(selector.match(adaptor) for selector in every) for every in self.alternatives)

    def fields(self) -> frozenset[str]:
        """First components of the paths used, so that a store loads only what is asked about."""
        return frozenset(selector.path[0] for every in self.alternatives for selector in every)


def parse(filters: Iterable[str]) -> Filter:
    """Parse filters.

    Raises:
        InvalidArgument: Naming the filter and the position, counted from 1.
    """
    return Filter(tuple(_Parser(text).filter() for text in filters))


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) <= 20


def _ordered(left: int, operator: str, right: int) -> bool:
    if operator == ">":
        return left > right
    if operator == ">=":
        return left >= right
    return left < right if operator == "<" else left <= right


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        if len(text) > MAX_LENGTH:
            raise InvalidArgument(f"filter of {len(text)} characters: the limit is {MAX_LENGTH}")

    def filter(self) -> tuple[Selector, ...]:
        selectors = [self._selector()]
        while self._at < len(self._text):
            if self._text[self._at] != ",":
                self._fail("want a comma or the end")
            self._at += 1
            selectors.append(self._selector())
        return tuple(selectors)

    def _selector(self) -> Selector:
        path = [self._component()]
        while self._peek() == ".":
            self._at += 1
            path.append(self._component())
        operator = next((op for op in _OPERATORS if self._text.startswith(op, self._at)), None)
        if operator is None:
            return Selector(tuple(path), None, "")
        self._at += len(operator)
        start = self._at
        value = self._value(operator)
        if operator == "~=":
            return Selector(tuple(path), operator, value, self._pattern(value, start))
        if operator[0] in "<>" and not _is_number(value):
            self._fail(f"{operator} wants a decimal number", start)
        return Selector(tuple(path), operator, value)

    def _component(self) -> str:
        if self._peek() == '"':
            return self._quoted()
        word = self._until(_SEPARATORS)
        if not word:
            self._fail("want a field name")
        return word

    def _value(self, operator: str) -> str:
        first = self._peek()
        if first == '"':
            return self._quoted()
        if operator == "~=" and first and first in "/|":
            return self._raw(first)
        return self._until(frozenset(","))

    def _until(self, stops: frozenset[str]) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in stops:
            self._at += 1
        return self._text[start : self._at]

    def _raw(self, quote: str) -> str:
        """A quoted pattern, in which the backslash belongs to the pattern unless it escapes the quote."""
        start, out = self._at, []
        self._at += 1
        while (char := self._peek()) != quote:
            if not char:
                self._fail("quote is not closed", start)
            if char == "\\" and self._text.startswith(quote, self._at + 1):
                self._at += 1
                char = quote
            out.append(char)
            self._at += 1
        self._at += 1
        return "".join(out)

    def _quoted(self) -> str:
        start, out = self._at, []
        self._at += 1
        while (char := self._peek()) != '"':
            if not char:
                self._fail("quote is not closed", start)
            self._at += 1
            out.append(self._escape() if char == "\\" else char)
        self._at += 1
        return "".join(out)

    def _escape(self) -> str:
        start = self._at - 1
        char = self._peek()
        self._at += 1
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char and char in '\\"':
            return char
        width = _HEX_ESCAPES.get(char, 0)
        digits = self._text[self._at : self._at + width] if width else self._text[start + 1 : start + 4]
        try:
            if width and len(digits) == width:
                self._at += width
                return chr(int(digits, 16))
            if not width and len(digits) == 3:
                self._at = start + 4
                return chr(int(digits, 8))
        except (ValueError, OverflowError) as error:
            raise self._error("not an escape", start) from error
        raise self._error("not an escape", start)

    def _pattern(self, value: str, start: int) -> re.Pattern[str]:
        import re

        try:
            return re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise self._error(f"not a regular expression: {error}", start) from error

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _fail(self, why: str, at: int | None = None) -> NoReturn:
        raise self._error(why, self._at if at is None else at)

    def _error(self, why: str, at: int) -> InvalidArgument:
        shown = self._text if len(self._text) <= 80 else self._text[:80] + "..."
        return InvalidArgument(f"filter {shown!a}: position {at + 1}: {why}")
