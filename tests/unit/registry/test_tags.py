"""The list of tags, page by page."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.message import Request, Response
from distore.registry.tags import MAX_PAGE, list_tags
from distore.testing.memory_repositories import MemoryRepositories

DESCRIPTOR = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b""), size=0)
NAMES = st.text("abcAB019._-", min_size=1, max_size=5)


def page(tags: list[str], **query: str) -> Response:
    request = Request(method="GET", path="/v2/a/b/tags/list", query=query)
    shown = {"a/b": dict.fromkeys(tags, DESCRIPTOR)}
    return list_tags(request, MemoryRepositories(shown), repository="a/b")


def names(response: Response) -> list[str]:
    assert isinstance(response.body, bytes)
    document = json.loads(response.body)
    assert document["name"] == "a/b"
    return list(document["tags"])


def test_tags_come_in_lexical_order() -> None:
    response = page(["b", "a", "10", "9"])

    assert names(response) == ["10", "9", "a", "b"]
    assert "link" not in response.headers


def test_a_page_tells_where_the_next_begins() -> None:
    response = page(["a", "b", "c"], n="2")

    assert names(response) == ["a", "b"]
    assert response.headers["link"] == '</v2/a/b/tags/list?n=2&last=b>; rel="next"'


def test_no_tags_are_wanted_with_n_0() -> None:
    response = page(["a"], n="0")

    assert names(response) == []
    assert "link" not in response.headers


@pytest.mark.parametrize("count", ["-1", "x", "1.5", "", "9" * 40, "\u0663"])
def test_a_page_is_a_number_of_tags(count: str) -> None:
    assert page(["a"], n=count).status == 400


def test_a_page_has_a_largest_size() -> None:
    tags = [f"{number:05}" for number in range(MAX_PAGE + 1)]

    assert len(names(page(tags))) == MAX_PAGE
    assert len(names(page(tags, n="99999999"))) == MAX_PAGE


@given(st.sets(NAMES, max_size=20), st.integers(1, 7))
def test_pages_together_are_all_tags_once(tags: set[str], count: int) -> None:
    found: list[str] = []
    query = {"n": str(count)}
    while True:
        response = page(list(tags), **query)
        found += names(response)
        link = response.headers.get("link")
        if link is None:
            break
        query = dict(parse_qsl(urlsplit(link[1 : link.index(">")]).query))

    assert found == sorted(tags)
