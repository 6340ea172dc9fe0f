"""Filters: containerd's syntax, our order on numbers, and text that nobody should send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from distore._internal.filters import MAX_LENGTH, MAX_PATTERN, parse
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from distore._internal.filters import Adaptor


def adaptor(fields: dict[str, str]) -> Adaptor:
    return lambda path: fields.get(".".join(path))


BLOB = adaptor(
    {
        "digest": "sha256:0a1b",
        "size": "1024",
        "name": "too complex, yo",
        "labels.foo": "omg_asdf.asdf-qwer",
        "labels.empty": "",
        "labels.very complex label": "something",
        'labels.with \\ and ".post': "present",
        "labels.path": "/var/lib",
        "labels.word": "v1.5",
    }
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "digest",
        "labels.empty",
        "labels.foo,digest",
        "labels.foo==omg_asdf.asdf-qwer",
        'labels."foo"=="omg_asdf.asdf-qwer"',
        'labels."very complex label"==something',
        r'labels."with \\ and \"".post==present',
        'labels.empty==""',
        'name=="too complex, yo"',
        "size!=5",
        "labels.missing!=anything",
        'labels.path=="/var/lib"',
        "digest~=^sha256:0[0-9a-f]+$",
        "digest~=a1",
        "digest~=/^sha256:[0-9a-f]{1,4}$/",
        "digest~=|sha256:0/?a|",
        r"labels.path~=/^\/var\//",
        r"labels.path~=|^/var|",
        r'labels.word~="v\\d\\.\\d"',
        r"labels.word~=v\d\.\d",
        "labels.word~=[[:alpha:]][[:digit:]]",
        r"labels.word~=v1.5\z",
        "labels.word~=[]v]",
        "labels.word~=^[^]]+$",
        "labels.missing~=/^$/",
        " size == 1024 , digest ",
        'name=="too complex\\x2c\\u0020\\171o"',
    ],
)
def test_a_filter_matches_what_it_describes(text: str) -> None:
    assert parse([text]).match(BLOB)


@pytest.mark.parametrize(
    "text",
    [
        "missing",
        "labels",
        "digest,labels.missing",
        "labels.missing==x",
        'labels.missing==""',
        'labels.missing!=""',
        "size!=1024",
        "digest~=^a1",
        "labels.missing~=.",
        "labels.word~=[[&&]",
    ],
)
def test_a_filter_does_not_match_anything_else(text: str) -> None:
    assert not parse([text]).match(BLOB)


@pytest.mark.parametrize(
    ("operator", "below", "equal", "above"),
    [
        (">", False, False, True),
        (">=", False, True, True),
        ("<", True, False, False),
        ("<=", True, True, False),
    ],
)
def test_order_operators_compare_numbers_not_text(
    operator: str, below: bool, equal: bool, above: bool
) -> None:
    found = [parse([f"size{operator}100"]).match(adaptor({"size": size})) for size in ("9", "100", "1000")]

    assert found == [below, equal, above]


@pytest.mark.parametrize("value", ["", "x", "1.5", "0x10", "1_0", "9" * 21, "\u0661"])
def test_a_field_that_is_no_number_has_no_order(value: str) -> None:
    fields = adaptor({"size": value})

    assert not parse(["size>0", "size<=0"]).match(fields)


def test_negative_numbers_have_an_order() -> None:
    assert parse(["size>-2"]).match(adaptor({"size": "-1"}))
    assert not parse(["size>-1"]).match(adaptor({"size": "-2"}))


def test_several_filters_are_alternatives() -> None:
    filters = parse(["missing", "size==1024"])

    assert filters.match(BLOB)
    assert not filters.match(adaptor({"size": "1"}))


def test_no_filter_at_all_matches_everything() -> None:
    assert parse([]).match(adaptor({}))


def test_fields_names_the_first_component_of_every_path() -> None:
    filters = parse(['labels."a.b".c==1,size>5', "digest"])

    assert filters.fields() == {"labels", "size", "digest"}
    assert parse([""]).fields() == frozenset()


def test_bytes_of_escapes_are_put_together_before_they_are_decoded() -> None:
    assert parse([r'name=="\xe2\x82\xac \342\202\254"']).match(adaptor({"name": "€ €"}))


def test_classes_of_a_pattern_know_ascii_only() -> None:
    assert not parse([r"name~=\w"]).match(adaptor({"name": "é"}))


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("size==5,", 9, "field name"),
        ("labels.", 8, "field name"),
        (",size", 1, "field name"),
        ("labels.|foo|==x", 8, "field name"),
        ('""==x', 3, "field name"),
        ("labels.ns/key==v", 10, "want an operator"),
        ("size 5", 6, "want an operator"),
        ("size==5 6", 9, "want an operator"),
        ("size=5", 5, "want one of"),
        ("size===5", 5, "want one of"),
        ("size=!5", 5, "want one of"),
        ("image~=,id?=?x", 8, "want a value"),
        ("size==", 7, "want a value"),
        ("labels.key==/value/", 13, "want a value"),
        ('name=="x', 7, "not closed"),
        ('name=="x\ny"', 7, "not closed"),
        ("name~=/x|", 7, "not closed"),
        (r'name=="\d"', 8, "not an escape"),
        (r'name=="\/"', 8, "not an escape"),
        (r'name=="\x1"', 8, "not an escape"),
        (r'name=="\777"', 8, "not an escape"),
        (r'name=="\1_1"', 8, "not an escape"),
        (r'name=="\ud800"', 8, "not an escape"),
        (r'name=="\U00110000"', 8, "not an escape"),
        ('name=="\\', 8, "not an escape"),
        ("size>many", 6, "decimal number"),
        ("size>" + "9" * 21, 6, "decimal number"),
        ("name~=(", 7, "regular expression"),
        ("name~=a{99999999999}", 7, "regular expression"),
        ("name~=" + "(" * 4000, 7, "regular expression"),
        ("name~=" + "a" * (MAX_PATTERN + 1), 7, "regular expression"),
        ("name~=[[:vowel:]]", 7, "no set is named 'vowel'"),
        ("name~=[a--b]", 7, "dash"),
        ("na\0me", 3, "null character"),
        ("name==\ud800", 7, "not a character"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_filter_is_refused_at_its_position(text: str, position: int, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        parse([text])

    assert f": position {position}: " in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_filter_has_a_length_limit() -> None:
    parse(["a" * MAX_LENGTH])

    with pytest.raises(InvalidArgument, match=str(MAX_LENGTH)):
        parse(["a" * (MAX_LENGTH + 1)])


def test_the_message_shows_the_surroundings_of_a_position_far_along() -> None:
    with pytest.raises(InvalidArgument, match="ccc!ddd"):
        parse(["a==b," + "c" * 500 + "!" + "d" * 500])
