"""Explain: what is said of each host, live and offline, and what is not said."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.errors import FailedPrecondition, InvalidArgument, Unauthenticated, Unavailable
from distore.oci.reference import Reference
from distore.registry.message import Handler, Request, Response
from distore.remotes.credentials import Credential
from distore.remotes.explanation import Explanation
from distore.remotes.http.explain import explain
from distore.remotes.http.login import verify
from distore.remotes.options import RegistryOptions
from distore.testing import server
from distore.testing.server import FakeRegistry, Fault

BOB = {"auth": base64.b64encode(b"bob:hunter22").decode()}
HEADER = f"Basic {BOB['auth']}"
GIVEN = Credential(username="bob", secret="hunter22")
Configure = Callable[..., RegistryOptions]


def guarded(challenge: str = 'Basic realm="x"') -> Fault:
    """Lets only bob in."""
    refuse = server.refuse(401, "UNAUTHORIZED", "no", www_authenticate=challenge)

    def act(request: Request, handler: Handler) -> Response:
        good = request.headers.get("authorization") == HEADER
        return handler(request) if good else refuse(request, handler)

    return act


def reference(registry: FakeRegistry) -> Reference:
    return Reference.parse(f"{registry.address}/demo/app")


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Options with credentials for some hosts and the hosts.toml of one."""

    def make(*known: str, hosts: str | None = None, of: str = "_default", **more: str) -> RegistryOptions:
        auth = tmp_path / "auth.json"
        auth.write_text(json.dumps({"auths": dict.fromkeys(known, BOB)}))
        if hosts is not None:
            (tmp_path / "hosts" / of).mkdir(parents=True)
            (tmp_path / "hosts" / of / "hosts.toml").write_text(hosts)
        return RegistryOptions(
            auth_files=(str(auth),),
            hosts_dir=str(tmp_path / "hosts") if hosts is not None else None,
            ca=more.get("ca"),
        )

    return make


def test_a_registry_that_lets_everybody_in(registry: FakeRegistry) -> None:
    (one,) = explain(reference(registry), RegistryOptions(), live=True)

    assert (one.url, one.user, one.proxy, one.error) == (f"{registry.url}/v2", None, None, None)
    assert (one.status, one.schemes) == (200, ())
    assert one.seconds is not None


def test_offline_nobody_is_asked(registry: FakeRegistry, configure: Configure) -> None:
    (one,) = explain(reference(registry), configure(registry.address), live=False)

    assert (one.status, one.error, registry.requests) == (None, None, [])
    assert (one.user, one.source) == ("bob", configure().auth_files[0])


def test_credentials_are_shown_where_they_are_wanted(registry: FakeRegistry, configure: Configure) -> None:
    registry.inject(guarded(), times=None)

    (one,) = explain(reference(registry), configure(registry.address), live=True)

    assert (one.status, one.schemes, one.error) == (200, ("basic",), None)
    assert "hunter22" not in repr(one)
    assert BOB["auth"] not in repr(one)


def test_missing_and_wrong_credentials_are_what_is_wrong(
    registry: FakeRegistry, configure: Configure
) -> None:
    registry.inject(guarded(), times=None)

    (missing,) = explain(reference(registry), configure(), live=True)
    registry.inject(server.refuse(401, www_authenticate="Basic"), times=None)
    file = Path(configure().auth_files[0])
    wrong_pair = base64.b64encode(b"bob:wrong").decode()
    options = configure()
    file.write_text(json.dumps({"auths": {registry.address: {"auth": wrong_pair}}}))
    (wrong,) = explain(reference(registry), options, live=True)

    assert isinstance(missing.error, Unauthenticated)
    assert "dist login" in str(missing.error)
    assert str(wrong.error).startswith(f"{registry.url}: answered 401 to user 'bob' of {file}")


def test_a_token_is_asked_for_to_pull(gated: FakeRegistry) -> None:
    (one,) = explain(reference(gated), RegistryOptions(), live=True)

    assert (one.status, one.schemes) == (200, ("bearer",))
    assert gated.seen("/token")[0].query["scope"] == "repository:demo/app:pull"


def test_hosts_come_in_order_with_what_decides_about_them(
    registry: FakeRegistry, configure: Configure, tmp_path: Path, ca: str
) -> None:
    hosts = f'''
        server = "{registry.url}"
        [host."https://m.example:5000"]
        capabilities = ["pull"]
        skip_verify = true
        [host."https://m.example:5000".header]
        x-secret = "hunter22"
        [host."{registry.url}/mirror"]
        ca = "{ca}"
    '''
    options = configure("m.example:5000", hosts=hosts, of="docker.io")

    first, second, last = explain(Reference.parse("redis"), options, live=False)

    assert (first.url, first.user) == ("https://m.example:5000/v2", "bob")
    assert (first.namespace, first.capabilities, first.headers) == ("docker.io", ("pull",), ("x-secret",))
    assert first.decided_by == str(tmp_path / "hosts" / "docker.io" / "hosts.toml")
    assert first.verify is False
    assert second.url == f"{registry.url}/mirror/v2"
    assert (second.ca, last.user) == ((), None)
    assert "hunter22" not in repr((first, second, last))


def test_a_host_that_cannot_be_reached_does_not_hide_the_next(
    registry: FakeRegistry, configure: Configure
) -> None:
    gone = FakeRegistry()
    gone.start()
    gone.stop()
    options = configure(hosts=f'server = "{registry.url}"\n[host."{gone.url}"]', of="docker.io")

    first, last = explain(Reference.parse("redis"), options, live=True)

    assert isinstance(first.error, Unavailable)
    assert (first.status, first.schemes) == (None, None)
    assert (last.status, last.error) == (200, None)


def test_a_damaged_auth_file_is_an_error_of_the_host(registry: FakeRegistry, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    options = RegistryOptions(auth_files=(str(tmp_path / "a.json"),))

    (one,) = explain(reference(registry), options, live=True)

    assert isinstance(one.error, InvalidArgument)
    assert "a.json: not JSON" in str(one.error)


def test_the_password_of_a_proxy_is_not_told() -> None:
    options = RegistryOptions(proxies={"https": "http://bob:hunter22@proxy.example:3128"}, ca="/x/ca.pem")

    (one,) = explain(Reference.parse("a.example/b"), options, live=False)

    assert one == Explanation(
        url="https://a.example/v2",
        capabilities=("pull", "push", "resolve"),
        verify=True,
        proxy="http://proxy.example:3128",
        ca=("/x/ca.pem",),
        only_ca=True,
    )


def test_a_server_with_tls_is_asked_with_its_authority(
    encrypted: FakeRegistry, ca: str, configure: Configure
) -> None:
    options = configure(hosts=f'server = "{encrypted.url}"', ca=ca)

    (one,) = explain(Reference.parse("a.example/b"), options, live=True)

    assert (one.status, one.ca, one.error) == (200, (ca,), None)


def test_a_login_is_verified_by_the_registry(registry: FakeRegistry) -> None:
    registry.inject(guarded(), times=None)

    verified = verify(registry.address, GIVEN, RegistryOptions())

    assert (verified.credential, verified.asked) == (GIVEN, True)
    with pytest.raises(Unauthenticated, match="answered 401 to user 'bob' of what was given"):
        verify(registry.address, Credential(username="bob", secret="wrong"), RegistryOptions())


def test_a_login_keeps_the_identity_token_instead_of_the_password(gated: FakeRegistry) -> None:
    def act(request: Request, handler: Handler) -> Response:
        assert request.headers["authorization"] == HEADER
        document = json.loads(bytes(handler(request).body))  # type: ignore[arg-type] # bytes, from the gate
        return Response(status=200, body=json.dumps({**document, "refresh_token": "keep-me"}).encode())

    gated.inject(act, path="/token")

    verified = verify(gated.address, GIVEN, RegistryOptions())

    assert verified.credential == Credential(username="bob", identity_token="keep-me")
    assert gated.seen("/token")[0].query["offline_token"] == "true"


def test_a_login_where_nobody_is_asked_verifies_nothing(registry: FakeRegistry) -> None:
    assert not verify(registry.address, GIVEN, RegistryOptions()).asked
    assert "authorization" not in registry.requests[0].headers


def test_a_login_needs_a_registry(registry: FakeRegistry) -> None:
    registry.inject(server.refuse(404), times=None)

    with pytest.raises(FailedPrecondition, match="answered 404: no registry"):
        verify(registry.address, GIVEN, RegistryOptions())


def test_a_login_is_never_sent_to_what_stands_for_the_registry(
    registry: FakeRegistry, configure: Configure
) -> None:
    options = configure(hosts=f'server = "{registry.url}"', of="docker.io")

    with pytest.raises(FailedPrecondition, match=f"puts {registry.address} in its place; log in there"):
        verify("docker.io", GIVEN, options)

    assert registry.requests == []
