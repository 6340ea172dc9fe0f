"""A page of another site writes nothing to a registry without a gate, however it is reached."""

from __future__ import annotations

import pytest

from distore.registry.crosssite import CrossSite
from distore.registry.message import Request, Response


class Inner:
    def handle(self, request: Request, /) -> Response:
        return Response(status=200)

    quick = handle


def ask(method: str, **headers: str) -> int:
    given = {"host": "h:5000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    service = CrossSite(Inner())
    request = Request(method=method, path="/v2/x/blobs/uploads/", headers=given)
    quick = service.quick(request)
    answer = service.handle(request)
    assert quick is None or quick.status == answer.status
    return answer.status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"origin": "http://127.0.0.1:8080", "host": "127.0.0.1:5000"},
        # A name that was pointed here after the page had come from elsewhere.
        {"origin": "http://evil.example:5000", "host": "evil.example:5000"},
        {"origin": "http://evil.example:5000", "host": "evil.example:5000", "sec_fetch_site": "same-origin"},
    ],
)
def test_a_page_of_another_site_writes_nothing(method: str, headers: dict[str, str]) -> None:
    assert ask(method, **headers) == 403
    assert ask("GET", **headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "none"},
        {"origin": "http://127.0.0.1:5000", "host": "127.0.0.1:5000"},
        {"origin": "http://[::1]:5000", "host": "[::1]:5000"},
        {"origin": "http://localhost:5000", "host": "LOCALHOST:5000", "sec_fetch_site": "same-origin"},
    ],
)
def test_clients_and_pages_of_its_own_address_write(headers: dict[str, str]) -> None:
    assert ask("POST", **headers) == 200
