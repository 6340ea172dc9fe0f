"""Content-Range: what a part of an object says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.remotes.http.ranges import ContentRange, parse_content_range


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bytes 0-99/200", ContentRange(0, 99, 200)),
        ("Bytes 5-5/6", ContentRange(5, 5, 6)),
        (" bytes 0-99/* ", ContentRange(0, 99, None)),
        ("bytes */200", ContentRange(None, None, 200)),
        ("bytes */*", ContentRange(None, None, None)),
    ],
)
def test_a_content_range_tells_first_last_and_size(text: str, told: ContentRange) -> None:
    assert parse_content_range(text) == told


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "bytes",
        "bytes 0-99",
        "bytes=0-99/200",
        "items 0-99/200",
        "bytes 99-0/200",
        "bytes 0-200/200",
        "bytes -5/200",
        "bytes 0-/200",
        "bytes 0-99/x",
        "bytes +1-2/3",
        "bytes \u0663-\u0664/\u0665",
        "bytes 0-99/" + "9" * 20,
    ],
)
def test_nonsense_is_no_content_range(text: str | None) -> None:
    assert parse_content_range(text) is None


@given(st.text())
def test_no_text_whatever_is_an_error(text: str) -> None:
    parse_content_range("bytes " + text)


@given(st.integers(0, 2**61), st.integers(0, 2**61), st.integers(1, 2**61))
def test_what_is_written_right_is_read_right(start: int, length: int, rest: int) -> None:
    end, size = start + length, start + length + rest

    assert parse_content_range(f"bytes {start}-{end}/{size}") == (start, end, size)
