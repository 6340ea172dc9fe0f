"""Sizes, ages and lines as people and programs read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from distore.cli import output
from distore.cli.flags import label, size
from distore.errors import InvalidArgument


@pytest.mark.parametrize(
    ("size_", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_949, "1.0 MB"),
        (123_456_789, "123 MB"),
        (10**15, "1.0 PB"),
        (2**63, "9.2 EB"),
    ],
)
def test_sizes_have_three_digits(size_: int, text: str) -> None:
    assert output.human_size(size_) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "now"),
        (0.4, "now"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (7200, "2 hours"),
        (86_400, "1 day"),
        (8 * 86_400, "1 week"),
        (60 * 86_400, "2 months"),
        (800 * 86_400, "2 years"),
    ],
)
def test_ages_are_in_their_largest_unit(seconds: float, text: str) -> None:
    assert output.human_age(seconds) == text


def test_a_json_line_keeps_the_order_and_spells_times() -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, 60, tzinfo=UTC)

    line = output.json_line({"z": 1, "a": None, "when": when, "text": "ü\n"})

    assert line == '{"z":1,"a":null,"when":"2026-01-02T03:04:05.000060Z","text":"ü\\n"}'
    assert json.loads(line)["text"] == "ü\n"


def test_a_row_pads_all_but_its_last_cell() -> None:
    assert output.row(("a", "b", "c"), (3, 3)) == "a    b    c"
    assert output.row(("abcdef", "b"), (3, 3)) == "abcdef  b"


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("15", 15), ("2k", 2000), ("2Ki", 2048), ("3M", 3_000_000), ("1Gi", 2**30), ("1g", 10**9)],
)
def test_sizes_may_have_a_unit(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1.5", "k", "1x", "1kk", "\u0661", "9" * 30, "0x10"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="size"):
        size(text)


def test_a_label_has_a_key_and_an_equals_sign() -> None:
    assert label("a=b=c") == ("a", "b=c")
    assert label("a=") == ("a", "")
    for text in ("", "a", "=b"):
        with pytest.raises(InvalidArgument):
            label(text)
