"""Range: the part of a blob that a client wants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.errors import OutOfRange
from distore.registry.message import Request
from distore.registry.ranges import Span, span_of

ETAG = '"x"'
WHOLE = Span(0, 100, partial=False)


def span(header: str | None, *, size: int = 100, condition: str | None = None) -> Span:
    headers = {} if header is None else {"range": header}
    if condition is not None:
        headers["if-range"] = condition
    return span_of(Request(method="GET", path="/", headers=headers), size=size, etag=ETAG)


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        ("bytes=0-", 0, 100),
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 10),
        ("bytes=90-1000", 90, 10),
        ("bytes=99-", 99, 1),
        ("bytes=-1", 99, 1),
        ("bytes=-1000", 0, 100),
        ("Bytes = 10 - 19", 10, 10),
    ],
)
def test_one_range_is_answered_with_its_part(header: str, start: int, length: int) -> None:
    assert span(header) == Span(start, length, partial=True)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5",
        "bytes=19-10",
        "bytes=0-1,5-6",
        "items=0-1",
        "bytes=a-b",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=0-" + "9" * 30,
        "bytes=\u0661-\u0662",
    ],
)
def test_what_is_not_one_range_is_ignored(header: str | None) -> None:
    assert span(header) == WHOLE


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=5000-", "bytes=-0"])
def test_a_range_past_the_end_cannot_be_answered(header: str) -> None:
    with pytest.raises(OutOfRange, match="the blob has 100 bytes"):
        span(header)


def test_an_empty_blob_has_no_part() -> None:
    assert span(None, size=0) == Span(0, 0, partial=False)
    with pytest.raises(OutOfRange):
        span("bytes=0-", size=0)


@pytest.mark.parametrize("condition", ['"y"', 'W/"x"', "", "Mon, 01 Jan 2001 00:00:00 GMT"])
def test_a_range_of_something_else_is_ignored(condition: str) -> None:
    assert span("bytes=10-19", condition=condition) == WHOLE
    assert span("bytes=10-19", condition=ETAG).partial


@given(st.text(), st.integers(0, 1000))
def test_no_header_whatever_leads_outside_the_blob(spec: str, size: int) -> None:
    try:
        found = span(f"bytes={spec}", size=size)
    except OutOfRange:
        return

    assert 0 <= found.start <= found.start + found.length <= size
