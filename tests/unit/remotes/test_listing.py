"""Listings: pages of a registry, right ones and others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.remotes.pushing import Clients

from distore.errors import (
    DistoreError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from distore.registry.message import Handler, Request, Response
from distore.remotes.http import listing
from distore.remotes.http.listing import Listing, next_page, pages, texts
from distore.remotes.options import RegistryOptions
from distore.testing import server
from distore.testing.server import FakeRegistry, Fault

TAGS = Listing(path="demo/tags/list", scope="repository:demo:pull", subject="tags", query={"n": "2"})


def page(*names: str, link: str | None = None, **headers: str) -> Fault:
    body = json.dumps({"name": "demo", "tags": names}).encode()
    more = {"link": link} if link is not None else {}
    return lambda request, handler: Response(status=200, headers={**headers, **more}, body=body)


def listed(clients: Clients, registry: FakeRegistry) -> list[str]:
    client = clients.client(f"{registry.address}/demo")
    found = pages(client, TAGS, new_retrier=clients.retrier)
    return [name for document in found for name in texts(document, "tags", subject="tags")]


@pytest.mark.parametrize(
    ("links", "target"),
    [
        ([], None),
        (["</v2/x?last=a>; rel=next"], "/v2/x?last=a"),
        (['</v2/x?last=a>; rel="next"'], "/v2/x?last=a"),
        (['</v2/x?last=a,b>;REL="NEXT"'], "/v2/x?last=a,b"),
        (['</first>; rel="first", </two>; rel="next"'], "/two"),
        (["</first>; rel=first", "</two>; rel=next"], "/two"),
        (['</two>; title="a, b"; rel="prev next"'], "/two"),
        (['</two>; rel="nextish"'], None),
        (["</two>; xrel=next"], None),
        (["/two; rel=next"], None),
        (["</two"], None),
        ([""], None),
        (["<" * 16_000], None),
    ],
)
def test_the_next_page_is_read_out_of_links(links: list[str], target: str | None) -> None:
    assert next_page(links) == target


def test_a_link_that_is_too_long_is_not_cut(clients: Clients) -> None:
    with pytest.raises(FailedPrecondition, match="limit is 16384"):
        next_page(["<" + "x" * 20_000 + ">; rel=next"])


def test_pages_are_asked_for_when_they_are_wanted(clients: Clients, registry: FakeRegistry) -> None:
    for name in "abcde":
        registry.tag("demo", name, b"{}")
    client = clients.client(f"{registry.address}/demo")

    found = pages(client, TAGS, new_retrier=clients.retrier)
    assert registry.requests == []
    assert next(found)["tags"] == ["a", "b"]
    assert len(registry.requests) == 1
    assert [document["tags"] for document in found] == [["c", "d"], ["e"]]
    assert [seen.query.get("last") for seen in registry.requests] == [None, "b", "d"]


def test_a_page_that_is_late_is_asked_for_again(clients: Clients, registry: FakeRegistry) -> None:
    for name in "abcde":
        registry.tag("demo", name, b"{}")
    registry.inject(server.unavailable())
    registry.inject(page("a", "b", link='</v2/demo/tags/list?n=2&last=b>; rel="next"'))
    registry.inject(server.throttled(4))
    registry.inject(server.drop_answer())

    assert listed(clients, registry) == ["a", "b", "c", "d", "e"]

    assert clients.naps == [0.0, 4.0, 0.0]


@pytest.mark.parametrize("far", ["/v2/demo/tags/list", "?n=2", "/v2/demo/tags/list?n=2"])
def test_a_page_that_leads_to_itself_is_an_error(far: str, clients: Clients, registry: FakeRegistry) -> None:
    registry.inject(page("a", link=f"<{far}>; rel=next"), times=None)

    with pytest.raises(FailedPrecondition, match="names the same page again"):
        listed(clients, registry)

    assert len(registry.requests) <= 2


def test_pages_that_lead_in_a_circle_are_an_error(clients: Clients, registry: FakeRegistry) -> None:
    for at, to in (("x", "b"), ("b", "c"), ("c", "b")):
        path = "/v2/demo/tags/list" if at == "x" else f"/v2/{at}"
        registry.inject(page(at, link=f"</v2/{to}>; rel=next"), path=path, times=None)

    with pytest.raises(FailedPrecondition, match="names the same page again"):
        listed(clients, registry)

    assert len(registry.requests) == 3


def test_pages_without_end_are_given_up(
    clients: Clients, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_PAGES", 20)

    def another(request: Request, handler: Handler) -> Response:
        number = int(request.query.get("last", "0")) + 1
        return page(link=f"<?last={number}>; rel=next")(request, handler)

    registry.inject(another, times=None)

    with pytest.raises(ResourceExhausted, match="more than 20 pages"):
        listed(clients, registry)


def test_a_page_that_is_too_large_is_given_up(
    clients: Clients, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_PAGE_SIZE", 100)
    registry.inject(page("x" * 200))

    with pytest.raises(ResourceExhausted, match="a page of more than 100 bytes"):
        listed(clients, registry)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 50_000, b'{"tags": 1}', b'{"tags": [1]}'])
def test_a_page_of_nonsense_is_an_error_about_the_registry(
    body: bytes, clients: Clients, registry: FakeRegistry
) -> None:
    registry.inject(lambda request, handler: Response(status=200, body=body))

    with pytest.raises(FailedPrecondition, match="tags"):
        listed(clients, registry)


def test_no_list_is_an_empty_one(clients: Clients, registry: FakeRegistry) -> None:
    registry.inject(lambda request, handler: Response(status=200, body=b'{"tags": null}'))

    assert listed(clients, registry) == []


@pytest.mark.parametrize("target", ["http://[", "ftp://x/", "http://user@x/"])
def test_a_link_that_nobody_can_follow_is_an_error(
    target: str, clients: Clients, registry: FakeRegistry
) -> None:
    registry.inject(page("a", link=f"<{target}>; rel=next"))

    with pytest.raises(FailedPrecondition, match="link: address"):
        listed(clients, registry)


def test_another_host_that_a_link_leads_to_sees_no_secrets(clients: Clients, tmp_path: Path) -> None:
    with FakeRegistry(users={"ann": "secret"}) as registry, FakeRegistry() as elsewhere:
        auth = tmp_path / "auth.json"
        auth.write_text(f'{{"auths": {{"{registry.address}": {{"username": "ann", "password": "secret"}}}}}}')
        client = clients.client(f"{registry.address}/demo", RegistryOptions(auth_files=(str(auth),)))
        registry.inject(page("a", link=f"<{elsewhere.url}/more?sig=1>; rel=next"))
        elsewhere.inject(page("b"), path="/more")

        found = [document["tags"] for document in pages(client, TAGS, new_retrier=clients.retrier)]

        assert found == [["a"], ["b"]]
        assert registry.requests[-1].headers["authorization"].startswith("Basic ")
        assert "authorization" not in elsewhere.requests[0].headers
        assert elsewhere.requests[0].query == {"sig": "1"}


def test_a_link_without_tls_is_not_followed_from_one_with(
    clients: Clients, encrypted: FakeRegistry, registry: FakeRegistry, ca: str
) -> None:
    client = clients.client(f"{encrypted.address}/demo", RegistryOptions(ca=ca))
    client.hosts = (replace(client.hosts[0], scheme="https"),)
    encrypted.inject(page("a", link=f"<{registry.url}/more>; rel=next"))

    with pytest.raises(PermissionDenied, match="leads from https to http"):
        list(pages(client, TAGS, new_retrier=clients.retrier))

    assert registry.requests == []


def test_a_mirror_that_has_it_is_asked_for_all_pages_and_one_that_fails_for_none(
    clients: Clients, registry: FakeRegistry, tmp_path: Path
) -> None:
    folder = tmp_path / "far.example"
    folder.mkdir()
    with FakeRegistry() as good, FakeRegistry() as bad:
        bad.inject(server.unavailable(), times=None)
        for name in "abc":
            good.tag("demo", name, b"{}")
        hosts = "".join(f'[host."{mirror.url}"]\n' for mirror in (bad, good))
        (folder / "hosts.toml").write_text(f'server = "{registry.url}"\n{hosts}')
        client = clients.client("far.example/demo", RegistryOptions(hosts_dir=str(tmp_path)))

        found = [document["tags"] for document in pages(client, TAGS, new_retrier=clients.retrier)]

        assert found == [["a", "b"], ["c"]]
        assert len(bad.requests) == 1
        assert {seen.query["ns"] for seen in good.requests} == {"far.example"}
        assert registry.requests == []


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (403, PermissionDenied), (500, Unavailable)])
def test_what_a_registry_does_not_list_is_an_error(
    status: int, error: type[DistoreError], clients: Clients, registry: FakeRegistry
) -> None:
    registry.inject(server.refuse(status), times=None)

    with pytest.raises(error, match="tags"):
        listed(clients, registry)
