"""Filters against an evaluator that works on the parts instead of the text."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distore._internal.filters import parse
from distore.errors import InvalidArgument

WORD = string.ascii_letters + string.digits + "-_"
BARE_FIRST = WORD + "+:@é€"
BARE_REST = BARE_FIRST + "./|=!~\"'"
NUMBER = re.compile(r"-?[0-9]{1,20}")

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
values = st.one_of(st.sampled_from(["", "1", "22", "-3", "a", "a.b"]), texts)
names = st.one_of(st.sampled_from(["size", "digest"]), texts.filter(bool))
paths = st.lists(names, min_size=1, max_size=3).map(tuple)
spaces = st.sampled_from(["", "", "", " ", "\t"])

Part = tuple[tuple[str, ...], str, str]


def quoted(draw: st.DrawFn, text: str, quote: str = '"') -> str:
    out = []
    for char in text:
        ways = [f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"]
        ways.append("".join(f"\\x{byte:02x}" for byte in char.encode()))
        ways.append("".join(f"\\{byte:03o}" for byte in char.encode()))
        if char in (quote, "\\"):
            ways.append("\\" + char)
        elif char != "\n":
            ways += [char] * 4
        out.append(draw(st.sampled_from(ways)))
    return quote + "".join(out) + quote


@st.composite
def selectors(draw: st.DrawFn) -> tuple[str, Part]:
    """One selector as text, and the path, operator and value it stands for."""
    path = draw(paths)
    operator = draw(st.sampled_from(["", "==", "!=", "~=", ">", ">=", "<", "<="]))
    value = draw(values)
    if operator == "~=":
        value = re.escape(value)
    elif operator[:1] in ("<", ">"):
        value = str(draw(st.integers(-30, 30)))
    shown = ".".join(
        part if all(char in WORD for char in part) and draw(st.booleans()) else quoted(draw, part)
        for part in path
    )
    if not operator:
        return draw(spaces) + shown + draw(spaces), (path, "", "")
    bare = value and value[0] in BARE_FIRST and all(char in BARE_REST for char in value)
    quotes = ['"', "/", "|"] if operator == "~=" else ['"']
    quote = draw(st.sampled_from(quotes))
    text = value if bare and draw(st.booleans()) else quoted(draw, value, quote)
    return draw(spaces) + shown + operator + draw(spaces) + text, (path, operator, value)


def holds(part: Part, fields: dict[tuple[str, ...], str]) -> bool:
    path, operator, value = part
    got = fields.get(path, "")
    if operator in ("", "=="):
        return path in fields and (not operator or got == value)
    if operator == "!=":
        return got != value
    if operator == "~=":
        return re.search(value, got) is not None
    if not NUMBER.fullmatch(got):
        return False
    left, right = int(got), int(value)
    return {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[operator]


@pytest.mark.slow
@settings(deadline=None)
@given(
    filters=st.lists(st.lists(selectors(), min_size=1, max_size=3), max_size=3),
    fields=st.dictionaries(paths, values, max_size=4),
    data=st.data(),
)
def test_a_filter_matches_as_a_naive_evaluator_does(
    filters: list[list[tuple[str, Part]]], fields: dict[tuple[str, ...], str], data: st.DataObject
) -> None:
    # Fields that the filters name are seldom hit by chance: let some exist, with the value asked for.
    for _, (path, _, value) in [pair for every in filters for pair in every]:
        if data.draw(st.booleans()):
            fields[path] = data.draw(st.sampled_from([value, "", "7"]))
    parsed = parse(",".join(text for text, _ in every) for every in filters)

    expected = not filters or any(all(holds(part, fields) for _, part in every) for every in filters)

    assert parsed.match(fields.get) is expected
    assert parsed.fields() == {part[0][0] for every in filters for _, part in every}


hostile = st.text(
    st.one_of(
        st.sampled_from(list('ab0._-,"/|\\=!~<>[](){}?*+^$:& \n')),
        st.characters(),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(text=hostile)
@example(text="a~=[[a]]")
@example(text="a~=[a--b]")
@example(text="a~=[a||b]")
@example(text='a=="\udc80"')
@example(text='a=="\ud800"')
def test_any_text_parses_or_is_refused_in_one_line(text: str) -> None:
    try:
        parse([text, f"a~={text}"]).match(lambda path: "aab")
    except InvalidArgument as error:
        assert str(error).isprintable()
