"""Listings of a registry, page by page (OCI distribution-spec, "Listing Tags", "Listing Referrers")."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from distore._internal.retry import Retrier
from distore.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from distore.remotes.http.address import follow
from distore.remotes.http.errors import error_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distore.remotes.http.client import Client
    from distore.remotes.http.hosts import Host

PAGE: Final = 1000  # entries asked for at a time
MAX_PAGE_SIZE: Final = 8 * 1024 * 1024  # bytes of one answer
MAX_PAGES: Final = 10_000
MAX_SIZE: Final = 1024 * 1024 * 1024  # bytes of all pages of a listing
_MAX_LINK: Final = 16 * 1024  # characters of one header
_LINK: Final = re.compile(r"<([^<>]*)>([^<]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What to list, and how.

    Args:
        path: Below the API's prefix, such as ``demo/tags/list``.
        subject: What messages call it.
        max_size: Bytes of all its pages together.
    """

    path: str
    scope: str
    subject: str
    query: Mapping[str, str]
    accept: str = "application/json"
    max_size: int = MAX_SIZE


class _Page(NamedTuple):
    document: dict[str, object]
    links: list[str]
    where: str
    size: int  # bytes


def pages(
    client: Client, listing: Listing, *, new_retrier: Callable[[], Retrier] = Retrier
) -> Iterator[dict[str, object]]:
    """The JSON object of each page, in their order, asked for when it is wanted.

    The first host that answers is asked for all of them.

    Args:
        new_retrier: Makes the Retrier of one page.
    Raises:
        NotFound: The registry knows nothing of it, or has no such listing.
        FailedPrecondition: A page is nonsense, or leads to one that was read.
        ResourceExhausted: A page is too large, or there are too many.
    """

    def first(host: Host) -> tuple[Host, _Page]:
        return host, _page(client, host, f"{host.url}/{listing.path}", listing, listing.query)

    host, page = new_retrier().run(lambda: client.ask("resolve", listing.subject, first))
    here = f"{host.url}/{listing.path}"
    seen, size = {here}, 0
    for _ in range(MAX_PAGES):
        size += page.size
        if size > listing.max_size:
            raise ResourceExhausted(f"{listing.subject}: more than {listing.max_size} bytes")
        yield page.document
        following = next_page(page.links)
        if following is None:
            return
        try:
            here = follow(here, following)
        except InvalidArgument as error:
            raise FailedPrecondition(f"{listing.subject}: {page.where}: link: {error}") from error
        if here in seen:
            raise FailedPrecondition(f"{listing.subject}: {page.where} names the same page again")
        seen.add(here)
        page = new_retrier().run(partial(_page, client, host, here, listing, {}))
    raise ResourceExhausted(f"{listing.subject}: more than {MAX_PAGES} pages")


def next_page(links: list[str]) -> str | None:
    """The target of ``<URL>; rel="next"`` (RFC 8288); the URL may have commas in it.

    Raises:
        FailedPrecondition: A header is too long to be one.
    """
    for link in links:
        if len(link) > _MAX_LINK:
            raise FailedPrecondition(f"link: {len(link)} characters, the limit is {_MAX_LINK}")
        for target, parameters in _LINK.findall(link):
            for parameter in parameters.split(";"):
                name, _, value = parameter.partition("=")
                relations = value.strip(' \t,"').lower().split()
                if name.strip().lower() == "rel" and "next" in relations:
                    return str(target)
    return None


def _page(client: Client, host: Host, url: str, listing: Listing, query: Mapping[str, str]) -> _Page:
    headers = {"Accept": listing.accept}
    response = client.request_url(host, "GET", url, headers=headers, scope=listing.scope, query=query)
    if response.status != 200:
        raise error_from(response, listing.subject)
    try:
        body = response.read_small(MAX_PAGE_SIZE + 1)
    finally:
        response.close()
    if len(body) > MAX_PAGE_SIZE:
        raise ResourceExhausted(f"{listing.subject}: a page of more than {MAX_PAGE_SIZE} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FailedPrecondition(f"{listing.subject}: {response.where} answered no JSON") from error
    if not isinstance(document, dict):
        raise FailedPrecondition(f"{listing.subject}: {response.where} answered no JSON object")
    return _Page(document, response.headers("link"), response.where, len(body))


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
