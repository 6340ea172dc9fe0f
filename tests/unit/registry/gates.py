"""A gate as a configuration would make it, asked without a network."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import bcrypt

from distore.registry.authsettings import AuthSettings
from distore.registry.gatesetup import GateParts, gate_of
from distore.registry.message import BytesBody, Request, Response
from distore.registry.table import Table

PASSWORDS = {"ann": "p:w", "bob": "b", "ü": "ü"}


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Inner:
    """Says what a request may do that got through."""

    def __init__(self) -> None:
        self.seen: list[Request] = []

    def handle(self, request: Request, /) -> Response:
        self.seen.append(request)
        return Response(status=200)

    def quick(self, request: Request, /) -> Response | None:
        return self.handle(request)


def basic(user: str) -> str:
    """What a user of PASSWORDS sends, or ``NAME:PASSWORD``."""
    text = user if ":" in user else f"{user}:{PASSWORDS[user]}"
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def write_users(folder: Path, passwords: dict[str, str] = PASSWORDS) -> None:
    salt = bcrypt.gensalt(4)
    lines = [f"{user}:{bcrypt.hashpw(word.encode(), salt).decode()}\n" for user, word in passwords.items()]
    (folder / "users").write_text("".join(lines))


def settings_of(text: str, folder: Path) -> AuthSettings:
    """Of what stands in a configuration file."""
    return AuthSettings.read(
        Table(tomllib.loads(text).get("auth", {}), where="serve.toml: [auth]", folder=str(folder))
    )


class Asked:
    """The gate, and how to ask it."""

    def __init__(self, text: str, folder: Path) -> None:
        self.inner, self.clock = Inner(), Clock()
        self.notes: list[str] = []
        self.folder = folder
        self.gate = gate_of(
            settings_of(text, folder),
            self.inner,
            GateParts(str(folder), self.clock, self.notes.append, random=_counting()),
        )

    def ask(self, method: str, path: str, shown: str = "", *, body: bytes = b"", **headers: str) -> Response:
        """``path`` may have a query, ``shown`` is a user of PASSWORDS or an Authorization header."""
        return self.gate.handle(self.request(method, path, shown, body=body, **headers))

    def quick(self, method: str, path: str, shown: str = "") -> Response | None:
        return self.gate.quick(self.request(method, path, shown))

    def request(
        self, method: str, path: str, shown: str = "", *, body: bytes = b"", **headers: str
    ) -> Request:
        bare, _, query = path.partition("?")
        pairs = parse_qsl(query)
        every = {name: tuple(value for key, value in pairs if key == name) for name, _ in pairs}
        given = {"host": "h:1", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if shown:
            given["authorization"] = (
                shown if " " in shown or (shown.isalpha() and shown not in PASSWORDS) else basic(shown)
            )
        return Request(
            method=method,
            path=bare,
            query={name: values[0] for name, values in every.items()},
            repeated={name: values for name, values in every.items() if len(values) > 1},
            headers=given,
            body=BytesBody(body),
            client="192.0.2.1",
        )

    def token(self, shown: str, *scopes: str) -> str:
        """An Authorization header with a token."""
        answer = self.ask("GET", f"/token?{urlencode([('scope', scope) for scope in scopes])}", shown)
        assert answer.status == 200, answer.body
        return f"Bearer {document(answer)['token']}"

    def challenge(self, method: str, path: str, shown: str = "") -> str:
        """What a 401 says; empty when there is none."""
        answer = self.ask(method, path, shown)
        assert (answer.status == 401) == ("www-authenticate" in answer.headers)
        return answer.headers.get("www-authenticate", "")

    def granted(self, path: str, shown: str = "", *, repository: str = "team/x") -> str:
        """What a request that gets through may do in a repository: ``user: actions``."""
        assert self.ask("GET", path, shown).status == 200
        grants = self.inner.seen[-1].grants
        allowed = [action for action in ("pull", "push", "delete") if grants.may(action, repository)]
        return f"{grants.user}: {' '.join(allowed)}"


def document(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def _counting() -> Callable[[int], bytes]:
    numbers = iter(range(10**9))
    return lambda size: next(numbers).to_bytes(size, "big")
