"""AuthSettings: who may do what (table ``[auth]``)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from distore.errors import Unimplemented
from distore.registry.names import MAX_REPOSITORY
from distore.registry.patterns import Patterns
from distore.registry.rules import Rule, RuleReader, actions_of, groups_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.registry.table import Table

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
_EVERYTHING: Final = Patterns(("**",))
_MAX_CHECKS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """Of tokens: those that are given out here, or, with a ``realm``, those of another server.

    Args:
        issue: Give tokens out at ``/token``; without, a name and a password come with every request.
        key: File with the secret or the private key that signs; None: one made in the store.
        lifetime, refresh_lifetime: Seconds that a token holds; a refresh token.
        service: What tokens are for; in challenges and in the claim ``aud``.
        issuer: Who signs, in the claim ``iss``.
        realm: URL of another token server.
        keys: Files with public keys, PEM or JWKS, whose tokens are taken.
        algorithms: That a signature with one of ``keys`` may have.
        leeway: Seconds that another server's clock may be off.
    """

    issue: bool = True
    key: str | None = None
    lifetime: float = 300.0
    refresh_lifetime: float = 30 * 86400.0
    service: str = "distore"
    issuer: str = "distore"
    realm: str | None = None
    keys: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ALGORITHMS
    leeway: float = 60.0

    @classmethod
    def read(cls, table: Table) -> TokenSettings:
        """Of ``[auth.token]``.

        Raises:
            InvalidArgument: As Table; or another server's tokens cannot be checked.
        """
        base = cls()
        realm, issuer = _url(table, "realm"), table.text("issuer")
        settings = cls(
            issue=table.flag("issue", base.issue),
            key=table.path("key"),
            lifetime=_between(table, "lifetime", base.lifetime, most=86400.0),
            refresh_lifetime=_between(table, "refresh_lifetime", base.refresh_lifetime, most=366 * 86400.0),
            service=_quotable(table, "service", base.service),
            issuer=issuer or base.issuer,
            realm=realm,
            keys=tuple(_path(table, name) for name in table.texts("keys")),
            algorithms=table.texts("algorithms", base.algorithms),
            leeway=_between(table, "leeway", base.leeway, least=0.0, most=600.0),
        )
        for algorithm in settings.algorithms:
            if algorithm not in ALGORITHMS:
                raise table.wrong("algorithms", f"{algorithm[:20]!a}: want some of {', '.join(ALGORITHMS)}")
        if realm is not None and not settings.keys:
            raise table.wrong("keys", "want the files with the public keys of that token server")
        if realm is not None and issuer is None:
            raise table.wrong("issuer", "want the name that the token server gives itself, its claim iss")
        if realm is not None and settings.key is not None:
            raise table.wrong("key", "no tokens are given out here when realm names another server")
        if realm is None and settings.keys:
            raise table.wrong("realm", "want the URL of the server whose keys these are")
        table.done()
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """Everything is allowed to everybody, unless there is something in the table.

    Args:
        enabled: The table says something.
        htpasswd: File with the users.
        rules: What is allowed; None: everything to every user.
        rules_file: File with more rules.
        anonymous: Actions that everybody may do everywhere.
        groups: Users by the name of their group, for the rules of the file.
        url: Where clients reach this server; None: as the request says.
        remember: Seconds that a password that was right is not checked again.
        failures: Wrong passwords that one client may send for one user before it has to wait.
        failure_interval: Seconds after which one more is taken.
        checks: Passwords that are checked at once, of one worker.
    """

    enabled: bool = False
    htpasswd: str | None = None
    rules: tuple[Rule, ...] | None = None
    rules_file: str | None = None
    anonymous: frozenset[str] = frozenset()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    token: TokenSettings = field(default_factory=TokenSettings)
    url: str | None = None
    remember: float = 300.0
    failures: int = 10
    failure_interval: float = 30.0
    checks: int = 2

    @classmethod
    def read(cls, table: Table) -> AuthSettings:
        """Of the table of a configuration file.

        Raises:
            InvalidArgument: As Table.
            Unimplemented: What checks passwords and tokens is not installed.
        """
        if not any(True for _ in table.keys()):  # noqa: SIM118 - no mapping
            return cls()
        if not all(find_spec(name) for name in ("bcrypt", "jwt", "cryptography")):
            raise Unimplemented(
                f"{table.where}: needs bcrypt and PyJWT; pip install 'distore[server]' has them"
            )
        base = cls()
        groups, tables = groups_of(table.table("groups")), table.tables("rule")
        settings = cls(
            enabled=True,
            htpasswd=table.path("htpasswd"),
            rules=RuleReader(groups).read(tables) if tables else None,
            rules_file=table.path("rules"),
            anonymous=actions_of(table, "anonymous", ()),
            groups=groups,
            token=TokenSettings.read(table.table("token")),
            url=_url(table, "url"),
            remember=_between(table, "remember", base.remember, most=86400.0),
            failures=table.number("failures", base.failures, least=1, most=1000) or base.failures,
            failure_interval=_between(table, "failure_interval", base.failure_interval, most=3600.0),
            checks=table.number("checks", base.checks, least=1, most=_MAX_CHECKS) or base.checks,
        )
        table.done()
        return settings

    @property
    def bounded(self) -> bool:
        """Whether rules hold for tokens, too; another server's word alone is enough where there are none."""
        return self.token.realm is None or self.rules is not None or self.rules_file is not None

    @property
    def standing(self) -> tuple[Rule, ...]:
        """The rules of the configuration: those that are written there, and what ``anonymous`` means."""
        rules = self.rules or ()
        if self.rules is None and self.rules_file is None and self.htpasswd is not None:
            rules = (Rule(repositories=_EVERYTHING, everyone=True),)
        if self.anonymous:
            rules = (*rules, Rule(repositories=_EVERYTHING, anonymous=True, actions=self.anonymous))
        return rules


def _url(table: Table, key: str) -> str | None:
    text = table.text(key)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not text.isascii() or not text.isprintable() or set(text) & set('"\\ '):
        raise table.wrong(key, "want an http or https URL")
    return text.rstrip("/")


def _path(table: Table, name: str) -> str:
    return os.path.join(table.folder, os.path.expanduser(name))


def _quotable(table: Table, key: str, default: str) -> str:
    text = table.text(key, default) or default
    if not text.isascii() or not text.isprintable() or set(text) & set('"\\') or len(text) > MAX_REPOSITORY:
        raise table.wrong(key, "want a short text in ASCII without quotes")
    return text


def _between(table: Table, key: str, default: float, *, least: float = 1.0, most: float) -> float:
    seconds = table.seconds(key, default)
    if seconds is None or not least <= seconds <= most:
        raise table.wrong(key, f"want a duration from {least:g} s to {most:g} s")
    return seconds
