"""TLS: which certificates are believed and shown, and what is said when they are not."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distore.errors import (
    DistoreError,
    FailedPrecondition,
    InvalidArgument,
)
from distore.registry.app import RegistryServer
from distore.registry.message import Response
from distore.remotes.http.tls import Trust
from distore.remotes.http.transport import Transport
from distore.testing import server
from distore.testing.server import FakeRegistry

BODY = b"0123456789" * 100


@pytest.fixture
def make() -> Iterator[Callable[..., Transport]]:
    made: list[Transport] = []

    def new(*, ca: str | None = None, skip_verify: bool = False) -> Transport:
        made.append(Transport(ca=ca, skip_verify=skip_verify))
        return made[-1]

    yield new
    for transport in made:
        transport.close()


def blob(registry: FakeRegistry, data: bytes = BODY) -> str:
    return f"{registry.url}/v2/demo/blobs/{registry.put('demo', data)}"


def read(transport: Transport, url: str, **options: object) -> bytes:
    response = transport.request("GET", url, headers={}, **options)  # type: ignore[arg-type] # as given
    try:
        return response.read_small(1 << 20)
    finally:
        response.close()


def test_an_encrypted_server_is_trusted_by_its_authority(
    make: Callable[..., Transport], encrypted: FakeRegistry, ca: str
) -> None:
    assert read(make(ca=ca), blob(encrypted)) == BODY
    assert read(make(), blob(encrypted), trust=Trust(ca=(ca,))) == BODY


def test_a_certificate_of_nobody_we_know_is_refused_with_a_way_out(
    make: Callable[..., Transport], encrypted: FakeRegistry
) -> None:
    with pytest.raises(FailedPrecondition, match=r"certificate is not trusted.*--ca names a CA"):
        read(make(), blob(encrypted))

    assert encrypted.requests == []


def test_a_certificate_for_another_name_is_refused(
    make: Callable[..., Transport], server_context: ssl.SSLContext, ca: str
) -> None:
    with (
        RegistryServer(
            lambda request: Response(status=200), host="127.0.0.2", tls=server_context
        ) as elsewhere,
        pytest.raises(FailedPrecondition, match="certificate is not trusted: ip address mismatch"),
    ):
        read(make(ca=ca), f"https://{elsewhere.address}/")


def test_checking_can_be_skipped_when_asked(make: Callable[..., Transport], encrypted: FakeRegistry) -> None:
    assert read(make(skip_verify=True), blob(encrypted), trust=Trust(skip_verify=True)) == BODY


def test_a_server_without_tls_is_named_with_a_way_out(
    make: Callable[..., Transport], registry: FakeRegistry
) -> None:
    with pytest.raises(FailedPrecondition, match=r"speaks no TLS; --plain-http"):
        read(make(), blob(registry).replace("http:", "https:"))


@pytest.mark.parametrize("trust", [Trust(ca=("gone.pem",)), Trust(client=(("gone.pem", None),))])
def test_a_file_that_is_not_there_is_named(make: Callable[..., Transport], trust: Trust) -> None:
    with pytest.raises(InvalidArgument, match=r"gone\.pem: no such file"):
        read(make(), "https://127.0.0.1:1/", trust=trust)


def test_a_file_without_certificates_is_named(make: Callable[..., Transport], tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")

    with pytest.raises(InvalidArgument, match=r"ca\.pem: not a PEM file"):
        read(make(ca=str(tmp_path / "ca.pem")), "https://127.0.0.1:1/")


def test_a_client_certificate_is_shown_to_who_asks_for_it(
    make: Callable[..., Transport], server_context: ssl.SSLContext, ca: str
) -> None:
    server_context.load_verify_locations(ca)
    server_context.verify_mode = ssl.CERT_REQUIRED
    own = str(Path(ca).with_name("server.pem"))

    with FakeRegistry(tls=server_context) as strict:
        assert read(make(ca=ca), blob(strict), trust=Trust(client=((own, None),))) == BODY
        with pytest.raises(DistoreError):
            read(make(ca=ca), blob(strict))


def test_skipping_the_check_for_one_server_skips_it_for_no_other(
    make: Callable[..., Transport], encrypted: FakeRegistry, server_context: ssl.SSLContext
) -> None:
    with FakeRegistry(tls=server_context) as other:
        encrypted.inject(server.redirect(blob(other)))

        with pytest.raises(FailedPrecondition, match=f"{other.address}: its certificate is not trusted"):
            read(make(), blob(encrypted), trust=Trust(skip_verify=True))

        assert other.requests == []


def test_a_client_certificate_does_not_follow_a_redirect() -> None:
    trust = Trust(ca=("a",), client=(("b", None),), skip_verify=True)

    assert trust.abroad(skip_verify=False) == Trust(ca=("a",))
