"""Authorizer: what is shown to whom, when there are credentials."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from distore.errors import DistoreError, PermissionDenied, Unauthenticated
from distore.remotes.credentials import Credential, Found, OneCredential
from distore.remotes.http.auth import Account, Authorizer
from distore.remotes.http.challenge import Challenge, parse_challenges
from distore.remotes.http.scopes import covers, join_scopes, parse_scopes, spell_scopes
from distore.remotes.http.tls import Trust
from distore.remotes.http.transport import Transport

PASSWORD = Credential(username="bob", secret="hunter22")
IDENTITY = Credential(username="bob", identity_token="refresh-me")
PULL = "repository:a/b:pull"
PUSH = "repository:a/b:pull,push"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    authorization: str | None
    form: dict[str, list[str]]


Answer = Callable[[Asked], tuple[int, dict[str, str], object]]


@dataclass(slots=True)
class TokenServer:
    """Answers as ``answer`` says; gives the tokens t1, t2, ... unless told otherwise."""

    url: str
    answer: Answer | None = None
    asked: list[Asked] = field(default_factory=list)

    def handle(self, asked: Asked) -> tuple[int, dict[str, str], object]:
        self.asked.append(asked)
        if self.answer is not None:
            return self.answer(asked)
        return 200, {}, {"token": f"t{len(self.asked)}", "expires_in": 300}


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            status, headers, document = server.handle(
                Asked(
                    method=self.command,
                    path=parts.path,
                    query=parse_qs(parts.query),
                    authorization=self.headers.get("Authorization"),
                    form=parse_qs(self.rfile.read(length).decode()),
                )
            )
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name that the class looks for

        def log_message(self, *words: object) -> None:
            """Quiet."""

    class Listening(ThreadingHTTPServer):
        def handle_error(self, *words: object) -> None:
            """A client may go away."""

    listening = Listening(("127.0.0.1", 0), Handler)
    server = TokenServer(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    yield server
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def transport() -> Iterator[Transport]:
    with closing(Transport()) as made:
        yield made


@dataclass(slots=True)
class Asker:
    """An Authorizer for one registry that names ``realm``."""

    authorizer: Authorizer
    realm: str
    account: Account = Account("http://r.example", "r.example", "a/b")  # noqa: RUF009 - immutable

    def challenge(self, scope: str = "") -> Challenge:
        return Challenge(
            scheme="bearer",
            parameters={"realm": self.realm, "service": "r", **({"scope": scope} if scope else {})},
        )

    def answer(self, need: str, *challenges: Challenge, refused: str | None = None) -> str:
        given = challenges or (self.challenge(need),)
        return self.authorizer.answer(given, account=self.account, scope=need, refused=refused, trust=Trust())

    def known(self, need: str) -> str | None:
        return self.authorizer.known(self.account, need)


@pytest.fixture
def asker(transport: Transport, tokens: TokenServer) -> Callable[..., Asker]:
    def make(credential: Credential | None = None, *, offline: bool = False) -> Asker:
        one = None
        if credential is not None:
            one = OneCredential(found=Found(credential=credential, source="/x/config.json"))
        made = Authorizer(transport, clock=lambda: 0.0, credentials=one, offline=offline)
        return Asker(made, f"{tokens.url}/token")

    return make


Make = Callable[..., Asker]


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def test_a_password_is_shown_to_the_token_server_alone(asker: Make, tokens: TokenServer) -> None:
    header = asker(PASSWORD).answer(PULL)

    (asked,) = tokens.asked
    assert header == "Bearer t1"
    assert (asked.method, asked.authorization) == ("GET", basic("bob:hunter22"))
    assert asked.query == {"service": ["r"], "scope": [PULL], "account": ["bob"]}


def test_an_identity_token_is_posted_and_in_no_address(asker: Make, tokens: TokenServer) -> None:
    tokens.answer = lambda asked: (200, {}, {"access_token": "fresh"})

    header = asker(IDENTITY).answer(PULL)

    (asked,) = tokens.asked
    assert header == "Bearer fresh"
    assert (asked.method, asked.query, asked.authorization) == ("POST", {}, None)
    assert asked.form == {
        "grant_type": ["refresh_token"],
        "service": ["r"],
        "client_id": ["distore"],
        "scope": [PULL],
        "refresh_token": ["refresh-me"],
    }


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_oauth_is_asked_the_old_way(asker: Make, tokens: TokenServer, status: int) -> None:
    tokens.answer = lambda asked: (status, {}, {}) if asked.method == "POST" else (200, {}, {"token": "old"})

    header = asker(Credential(username="bob", secret="hunter22", identity_token="refresh-me")).answer(PULL)

    assert header == "Bearer old"
    assert tokens.asked[-1].authorization == basic("bob:hunter22")


def test_an_identity_token_does_not_follow_a_redirect(asker: Make, tokens: TokenServer) -> None:
    tokens.answer = lambda asked: (307, {"Location": f"{tokens.url}/elsewhere"}, {})

    with pytest.raises(PermissionDenied, match="redirects a request that holds a secret"):
        asker(IDENTITY).answer(PULL)

    assert all(asked.form == {} for asked in tokens.asked if asked.path != "/token")


def test_a_password_does_not_follow_a_redirect_to_another_server(asker: Make, tokens: TokenServer) -> None:
    elsewhere = tokens.url.replace("127.0.0.1", "localhost")
    tokens.answer = lambda asked: (
        (200, {}, {"token": "t"}) if asked.path == "/other" else (302, {"Location": f"{elsewhere}/other"}, {})
    )

    assert asker(PASSWORD).answer(PULL) == "Bearer t"

    assert [asked.authorization for asked in tokens.asked] == [basic("bob:hunter22"), None]


def test_a_login_asks_for_an_identity_token(asker: Make, tokens: TokenServer) -> None:
    tokens.answer = lambda asked: (200, {}, {"token": "t", "refresh_token": "keep-me"})
    login = asker(PASSWORD, offline=True)

    login.answer("")

    assert tokens.asked[0].query["offline_token"] == ["true"]
    assert tokens.asked[0].query["client_id"] == ["distore"]
    assert login.authorizer.identity_token == "keep-me"


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("credential", [PASSWORD, IDENTITY], ids=["password", "identity"])
def test_wrong_credentials_name_server_user_and_source_and_no_secret(
    asker: Make, tokens: TokenServer, credential: Credential, status: int
) -> None:
    echo = {"errors": [{"code": "DENIED", "message": "not with hunter22 nor refresh-me"}]}
    tokens.answer = lambda asked: (status, {}, echo)

    with pytest.raises(DistoreError) as caught:
        asker(credential).answer(PULL)

    text = str(caught.value)
    assert type(caught.value) is (PermissionDenied if status == 403 else Unauthenticated)
    for part in ("http://r.example", f"answered {status}", "'bob'", "/x/config.json", "dist login r.example"):
        assert part in text
    assert str(credential.secret or credential.identity_token) not in text
    assert "***" in text


def test_a_registry_may_want_name_and_password_itself(asker: Make, tokens: TokenServer) -> None:
    one = asker(PASSWORD)

    header = one.answer(PULL, Challenge(scheme="basic", parameters={"realm": "x"}))

    assert header == basic("bob:hunter22") == one.known(PUSH)
    assert tokens.asked == []
    with pytest.raises(Unauthenticated, match=r"answered 401 to user 'bob' of /x/config.json; .*dist login"):
        one.answer(PULL, Challenge(scheme="basic", parameters={}), refused=header)


def test_without_credentials_it_says_how_to_give_some(asker: Make) -> None:
    with pytest.raises(Unauthenticated, match="wants a user name and a password; dist login r"):
        asker().answer(PULL, Challenge(scheme="basic", parameters={}))


def test_the_strongest_challenge_that_can_be_answered_is(asker: Make, tokens: TokenServer) -> None:
    one = asker(PASSWORD)
    weak = Challenge(scheme="basic", parameters={})

    assert one.answer(PULL, weak, one.challenge(PULL)) == "Bearer t1"
    unusable = parse_challenges(['Negotiate, Bearer realm="ftp://x", Basic realm="y"'])
    assert one.answer(PULL, *unusable) == basic("bob:hunter22")


def test_no_password_goes_where_there_is_no_tls_when_the_registry_has_it(
    asker: Make, tokens: TokenServer
) -> None:
    one = asker(PASSWORD)
    one.account = Account("https://r.example", "r.example", "a/b")

    with pytest.raises(Unauthenticated, match="speaks no TLS"):
        one.answer(PULL)

    assert tokens.asked == []


def test_one_token_is_asked_for_what_is_challenged_and_what_is_needed(
    asker: Make, tokens: TokenServer
) -> None:
    one = asker()

    one.answer(PUSH, one.challenge(PULL))

    assert tokens.asked[0].query["scope"] == [PUSH]
    assert one.known(PULL) == one.known(PUSH) == one.known("") == "Bearer t1"
    assert one.answer(PULL) == "Bearer t1"
    assert one.known("repository:a/b:delete") is None


def test_a_server_that_has_other_names_for_its_repositories_knows_better(
    asker: Make, tokens: TokenServer
) -> None:
    one = asker()

    one.answer(PULL, one.challenge("repository:proxy/a/b:pull"))

    assert tokens.asked[0].query["scope"] == ["repository:proxy/a/b:pull"]
    assert one.known(PULL) == "Bearer t1"


def test_a_refused_token_is_replaced_once_for_all(asker: Make, tokens: TokenServer) -> None:
    one = asker()
    old = one.answer(PUSH)

    new = one.answer(PULL, refused=old)

    assert (old, new) == ("Bearer t1", "Bearer t2")
    assert one.answer(PULL, refused=old) == new  # another thread that held the old one
    assert len(tokens.asked) == 2


def test_many_who_want_the_same_token_wait_for_one_fetch_and_others_do_not_wait(
    asker: Make, tokens: TokenServer
) -> None:
    one, held, asked_slow = asker(), threading.Event(), threading.Event()

    def answer(asked: Asked) -> tuple[int, dict[str, str], object]:
        if asked.query["scope"] == [PULL]:
            asked_slow.set()
            assert held.wait(10)
        return 200, {}, {"token": asked.query["scope"][0].rpartition(":")[2].replace(",", "-")}

    tokens.answer = answer
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(one.answer(PULL))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert asked_slow.wait(10)

    other = one.answer("repository:a/b:delete", one.challenge("repository:a/b:delete"))
    held.set()
    for thread in threads:
        thread.join()

    assert other == "Bearer delete"
    assert found == ["Bearer pull"] * 8
    assert len(tokens.asked) == 2


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("", ()),
        (PULL, (PULL,)),
        ("repository:a:push repository:a:pull", ("repository:a:pull,push",)),
        ("repository:h:5000/a:pull registry:catalog:*", ("registry:catalog:*", "repository:h:5000/a:pull")),
        ("aws", ("aws",)),
        ("repository:a:", ("repository:a:",)),
    ],
)
def test_scopes_are_spelled_in_one_order_and_parse_to_themselves(text: str, spelled: tuple[str, ...]) -> None:
    scopes = parse_scopes(text)

    assert spell_scopes(scopes) == spelled
    assert parse_scopes(" ".join(spelled)) == scopes


def test_scopes_join_and_cover() -> None:
    pull, push = parse_scopes(PULL), parse_scopes(PUSH)

    assert covers(push, pull)
    assert not covers(pull, push)
    assert covers(parse_scopes("repository:a/b:*"), push)
    assert join_scopes(pull, push) == push
    assert join_scopes(parse_scopes(""), pull) == pull


def test_no_secret_is_in_a_repr() -> None:
    both = Credential(username="bob", secret="hunter22", identity_token="refresh-me")

    assert repr(Found(credential=both, source="x")) == (
        "Found(credential=Credential(username='bob'), source='x')"
    )
