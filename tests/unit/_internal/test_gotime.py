"""Durations as Go writes them."""

from __future__ import annotations

import pytest

from distore._internal.gotime import parse_duration
from distore.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("100ms", 0.1),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("7ns", 7e-9),
        (".5s", 0.5),
        ("5.s", 5),
        ("2h45m30.5s", 9930.5),
        ("0", 0),
        ("0s", 0),
        ("7d", 604800),
    ],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "30",
        "-1s",
        "+1s",
        "1 s",
        "1x",
        ".s",
        "1..5s",
        "1s2",
        "1e3s",
        "inf",
        "nan",
        "٣s",
        "1S",
        "0" * 30,
    ],
)
def test_anything_else_is_refused_and_named(text: str) -> None:
    with pytest.raises(InvalidArgument, match="want numbers with units") as caught:
        parse_duration(text)

    assert repr(text[:40]) in str(caught.value)


@pytest.mark.parametrize("text", ["9223372036s", "2562047h"])
def test_what_go_can_hold_is_taken(text: str) -> None:
    assert parse_duration(text) > 9e9


@pytest.mark.parametrize("text", ["9223372037s", "2562048h", "99999999999999999999h", "5000000000s" * 2])
def test_more_than_go_can_hold_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_duration(text)
