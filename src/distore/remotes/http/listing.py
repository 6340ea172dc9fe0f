"""Listings of a registry, page by page (OCI distribution-spec, "Listing Tags", "Listing Referrers")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

from distore.errors import FailedPrecondition, ResourceExhausted
from distore.remotes.http.errors import error_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distore.remotes.http.client import Client
    from distore.remotes.http.hosts import Host

PAGE: Final = 1000  # entries asked for at a time
MAX_PAGE_SIZE: Final = 8 * 1024 * 1024  # bytes of one answer
MAX_PAGES: Final = 10_000


def pages(
    client: Client,
    host: Host,
    url: str,
    *,
    scope: str,
    subject: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
) -> Iterator[dict[str, object]]:
    """The JSON object of each page, in their order, asked for when it is wanted.

    Raises:
        NotFound: The registry knows nothing of it, or has no such listing.
        FailedPrecondition: A page is nonsense.
        ResourceExhausted: A page is too large, or there are too many.
    """
    here, asked = url, dict(query)
    for _ in range(MAX_PAGES):
        response = client.request_url(host, "GET", here, headers=headers, scope=scope, query=asked)
        if response.status != 200:
            raise error_from(response, subject)
        try:
            body = response.read_small(MAX_PAGE_SIZE + 1)
        finally:
            response.close()
        if len(body) > MAX_PAGE_SIZE:
            raise ResourceExhausted(f"{subject}: a page of more than {MAX_PAGE_SIZE} bytes")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise FailedPrecondition(f"{subject}: {response.where} answered no JSON") from error
        if not isinstance(document, dict):
            raise FailedPrecondition(f"{subject}: {response.where} answered no JSON object")
        yield document
        following = next_page(response.headers("link"))
        if following is None:
            return
        there = urljoin(here, following)
        if there == here:
            raise FailedPrecondition(f"{subject}: {response.where} names the same page again")
        here, asked = there, {}
    raise ResourceExhausted(f"{subject}: more than {MAX_PAGES} pages")


def next_page(links: list[str]) -> str | None:
    """The target of ``<URL>; rel="next"`` (RFC 8288)."""
    for link in links:
        for part in link[:8192].split(","):
            target, _, parameters = part.strip().partition(">")
            relation = parameters.replace(" ", "").replace('"', "").lower()
            if target.startswith("<") and ";rel=next" in relation:
                return target[1:]
    return None


def texts(document: Mapping[str, object], name: str, *, subject: str) -> list[str]:
    """A list of strings; null is an empty one.

    Raises:
        FailedPrecondition: Something else.
    """
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise FailedPrecondition(f"{subject}: {name} is not a list of strings")
    return value
