"""The filter syntax of containerd's API (containerd pkg/filters), plus order on numbers.

A filter is selectors joined by commas, all of which must match; of several filters one must, and
an empty one matches everything. A selector is a field path alone (present), or a path, an operator
and a value; space between them does not count::

    labels."containerd.io/gc.root",size>1024,digest~=|^sha256:0[0-9]|

Operators are ``==``, ``!=``, ``~=`` (regular expression, found anywhere) and, ours, ``>``,
``>=``, ``<``, ``<=`` between decimal integers. What has more than letters, digits, ``-`` and ``_``
in a path, or a comma or space in a value, is quoted with ``"`` and Go's escapes; the value of
``~=`` also with ``/`` or ``|``. In quotes a backslash of the pattern is written twice.

Patterns run on Python's ``re``, which backtracks: whoever takes filters from strangers has to
limit the time of a match, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable

    Adaptor = Callable[[tuple[str, ...]], str | None]

MAX_LENGTH: Final = 64 * 1024  # characters of one filter
MAX_PATTERN: Final = 4096  # characters of one regular expression
MAX_DIGITS: Final = 20  # of a number; int() takes time that grows with the square
_SHOWN: Final = 80
_OPERATORS: Final = frozenset(("==", "!=", "~=", ">=", "<=", ">", "<"))
_OPERATOR_CHARS: Final = frozenset("=!~<>")
_FIELD_CHARS: Final = frozenset("-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_QUOTES: Final = '"/|'
_ESCAPES: Final = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
_HEX_ESCAPES: Final = {"x": 2, "u": 4, "U": 8}  # number of digits
# Sets that RE2 knows by name and Python does not.
_CLASSES: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t-\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}


class Selector(NamedTuple):
    """One condition; ``operator`` is None for presence."""

    path: tuple[str, ...]
    operator: str | None = None
    value: str = ""
    pattern: re.Pattern[str] | None = None

    def match(self, adaptor: Adaptor) -> bool:
        """Whether what ``adaptor`` gives fulfils it. To ``!=`` and ``~=`` an absent field is empty."""
        got = adaptor(self.path)
        if self.operator is None:
            return got is not None
        if self.operator == "==":
            return got == self.value
        if self.operator == "!=":
            return (got or "") != self.value
        if self.pattern is not None:
            return self.pattern.search(got or "") is not None
        return got is not None and _is_number(got) and _ordered(int(got), self.operator, int(self.value))


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
    return digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS


def _ordered(left: int, operator: str, right: int) -> bool:
    if operator == ">":
        return left > right
    if operator == ">=":
        return left >= right
    return left < right if operator == "<" else left <= right


class _Parser:
    """One pass over the text from left to right; ``_at`` is the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        if len(text) > MAX_LENGTH:
            raise InvalidArgument(f"filter of {len(text)} characters: the limit is {MAX_LENGTH}")
        if "\0" in text:
            self._fail("a null character", text.index("\0"))
        try:
            text.encode(errors="surrogateescape")
        except UnicodeEncodeError as error:
            raise self._error("not a character", error.start) from error

    def filter(self) -> tuple[Selector, ...]:
        if not self._text:
            return ()
        selectors = [self._selector()]
        while self._peek():
            if self._peek() != ",":
                self._fail('want an operator, a comma or the end (other characters need "quotes")')
            self._at += 1
            selectors.append(self._selector())
        return tuple(selectors)

    def _selector(self) -> Selector:
        path = [self._field()]
        while self._peek() == ".":
            self._at += 1
            path.append(self._field())
        start = self._at
        operator = self._run(_OPERATOR_CHARS)
        if not operator:
            self._skip_space()
            return Selector(tuple(path))
        if operator not in _OPERATORS:
            self._fail("want one of == != ~= > >= < <=", start)
        self._skip_space()
        start = self._at
        value = self._value(operator)
        self._skip_space()
        if operator == "~=":
            return Selector(tuple(path), operator, value, self._pattern(value, start))
        if operator[0] in "<>" and not _is_number(value):
            self._fail(f"{operator} wants a decimal number", start)
        return Selector(tuple(path), operator, value)

    def _field(self) -> str:
        self._skip_space()
        field = self._quoted() if self._peek() == '"' else self._run(_FIELD_CHARS)
        if not field:
            self._fail('want a field name (other than letters, digits, - and _ need "quotes")')
        self._skip_space()
        return field

    def _value(self, operator: str) -> str:
        quote = self._peek()
        if quote == '"' or (quote and quote in _QUOTES and operator == "~="):
            return self._quoted()
        # A slash or bar opens a quote in containerd wherever it comes first.
        if not quote or quote in ",/|":
            self._fail('want a value, in "quotes" when it is empty or starts with , / or |')
        start = self._at
        while (char := self._peek()) and char != "," and not char.isspace():
            self._at += 1
        return self._text[start : self._at]

    def _run(self, chars: frozenset[str]) -> str:
        start = self._at
        while (char := self._peek()) and char in chars:
            self._at += 1
        return self._text[start : self._at]

    def _skip_space(self) -> None:
        while self._peek().isspace():
            self._at += 1

    def _quoted(self) -> str:
        start, quote, out = self._at, self._peek(), bytearray()
        self._at += 1
        while (char := self._peek()) != quote:
            if not char or char == "\n":
                self._fail("the quote is not closed", start)
            if char == "\\":
                out += self._escape(quote)
            else:
                out += char.encode(errors="surrogateescape")
                self._at += 1
        self._at += 1
        # \xe2\x82\xac are the bytes of one character; what is not UTF-8 is kept as os.fsdecode does.
        return out.decode(errors="surrogateescape")

    def _escape(self, quote: str) -> bytes:
        start = self._at
        char = self._text[start + 1 : start + 2]
        self._at += 2
        if char in _ESCAPES:
            return bytes((_ESCAPES[char],))
        if char == quote:
            return char.encode()
        width, base = _HEX_ESCAPES.get(char, 0), 16
        if not width:
            self._at, width, base = start + 1, 3, 8
        digits = self._text[self._at : self._at + width]
        self._at += width
        try:
            # int() would take signs, spaces and underscores, too.
            code = int(digits, base) if len(digits) == width and digits.isalnum() else -1
            return chr(code).encode() if char in "uU" else bytes((code,))
        except (ValueError, OverflowError) as error:  # UnicodeEncodeError is a ValueError
            raise self._error("not an escape; a backslash is written twice", start) from error

    def _pattern(self, value: str, start: int) -> re.Pattern[str]:
        import re

        if len(value) > MAX_PATTERN:
            self._fail(f"a regular expression has up to {MAX_PATTERN} characters", start)
        try:
            # As in RE2, \d, \w, \s and \b know ASCII only.
            return re.compile(_to_python(value), re.ASCII)
        except (re.error, OverflowError, RecursionError) as error:
            raise self._error(f"not a regular expression: {error}", start) from error
        except InvalidArgument as error:
            raise self._error(str(error), start) from error

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _fail(self, why: str, at: int | None = None) -> NoReturn:
        raise self._error(why, self._at if at is None else at)

    def _error(self, why: str, at: int) -> InvalidArgument:
        text = self._text
        if len(text) > _SHOWN:
            begin = max(0, at - _SHOWN // 2)
            text = ("..." if begin else "") + text[begin : begin + _SHOWN] + "..."
        return InvalidArgument(f"filter {text!a}: position {at + 1}: {why}")


def _to_python(pattern: str) -> str:
    r"""An RE2 pattern in Python's dialect: named sets, and marks inside a set that mean nothing to RE2."""
    out, at, in_set = [], 0, False
    while at < len(pattern):
        char, rest = pattern[at], pattern[at : at + 16]
        taken = char
        if char == "\\":
            taken = rest[:2]
            char = r"\Z" if taken == r"\z" and not in_set else taken
        elif not in_set and char == "[":
            in_set = True
            taken = "[^" if rest.startswith("[^") else "["
            literal = rest.startswith("]", len(taken))  # a bracket that comes first closes nothing
            char, taken = taken + r"\]" * literal, taken + "]" * literal
        elif in_set and rest.startswith("[:"):
            name = rest[2:].partition(":]")[0]
            if name not in _CLASSES:
                raise InvalidArgument(f"no set is named {name!a}")
            char, taken = _CLASSES[name], f"[:{name}:]"
        elif in_set and rest.startswith("--"):
            raise InvalidArgument("write a dash in a set as \\-")
        elif in_set and char in "[&~|":
            char = "\\" + char
        elif char == "]":
            in_set = False
        out.append(char)
        at += len(taken)
    return "".join(out)
