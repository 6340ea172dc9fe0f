"""A gate as the settings say."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import InvalidArgument
from distore.registry.attempts import Attempts
from distore.registry.bearers import Bearers
from distore.registry.gate import Gate, Means
from distore.registry.htpasswd import MAX_FILE as MAX_HTPASSWD
from distore.registry.htpasswd import Htpasswd
from distore.registry.jwt import Wanted
from distore.registry.jwtkeys import MAX_FILE as MAX_KEYS
from distore.registry.jwtkeys import ensure_secret, signing_key, verifying_keys
from distore.registry.passwords import Passwords
from distore.registry.rules import MAX_FILE as MAX_RULES
from distore.registry.rules import Rules, rules_in
from distore.registry.tokenserver import Terms, TokenServer
from distore.registry.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from distore.registry.authsettings import AuthSettings
    from distore.registry.jwtkeys import SigningKey, VerifyingKey
    from distore.registry.message import Service

SECRET_NAME: Final = "serve.key"  # noqa: S105 - a file name
_KEY_BYTES: Final = 32  # of what this process alone knows


class GateParts(NamedTuple):
    """What a gate is made of.

    Args:
        state: Folder where a secret is kept that all processes share.
        now: Seconds since the epoch.
        note: Gets a line for the operator.
        random: So many bytes that nobody can guess.
    """

    state: str
    now: Callable[[], float]
    note: Callable[[str], None] = lambda _line: None
    random: Callable[[int], bytes] = os.urandom


def gate_of(settings: AuthSettings, service: Service, parts: GateParts) -> Service:
    """The gate before ``service``; ``service`` itself where everything is allowed to everybody.

    Raises:
        NotFound, InvalidArgument, PermissionDenied: A file that the settings name is missing or wrong.
    """
    if not settings.enabled:
        return service
    watched: list[Watched[Any]] = []
    watch = partial(_watched, watched, parts)
    rules = _rules(settings, watch)
    passwords = _passwords(settings, watch, parts)
    means = Means(passwords=passwords, service=settings.token.service)
    if settings.token.realm is not None:
        means = _of_another(settings, means, watch, parts)
    elif passwords is not None and settings.token.issue:
        means = _given_out_here(settings, means, rules, watch, parts)
    return Gate(service, rules=rules, means=means, watched=watched, url=settings.url)


def _watched(
    files: list[Watched[Any]], parts: GateParts, path: str, read: Callable[[bytes], Any], limit: int
) -> Watched[Any]:
    file: Watched[Any] = Watched(path, read, limit=limit, now=parts.now, warn=parts.note)
    files.append(file)
    return file


def _rules(settings: AuthSettings, watch: Callable[..., Watched[Any]]) -> Callable[[], Rules]:
    standing = settings.standing
    path = settings.rules_file
    if path is None:
        rules = Rules(standing)
        return lambda: rules

    def read(data: bytes) -> Rules:
        return Rules((*standing, *rules_in(data, path=path, groups=settings.groups)))

    file: Watched[Rules] = watch(path, read, MAX_RULES)
    return lambda: file.value


def _passwords(
    settings: AuthSettings, watch: Callable[..., Watched[Any]], parts: GateParts
) -> Passwords | None:
    if settings.htpasswd is None:
        return None
    file: Watched[Htpasswd] = watch(
        settings.htpasswd, partial(Htpasswd.parse, path=settings.htpasswd), MAX_HTPASSWD
    )
    return Passwords(
        lambda: file.value,
        key=parts.random(_KEY_BYTES),
        attempts=Attempts(most=settings.failures, interval=settings.failure_interval, now=parts.now),
        lasting=settings.remember,
        checks=settings.checks,
        now=parts.now,
    )


def _of_another(
    settings: AuthSettings, means: Means, watch: Callable[..., Watched[Any]], parts: GateParts
) -> Means:
    token = settings.token
    files: list[Watched[tuple[VerifyingKey, ...]]] = [
        watch(path, partial(verifying_keys, path=path), MAX_KEYS) for path in token.keys
    ]
    wanted = Wanted(
        issuer=token.issuer, audience=token.service, algorithms=token.algorithms, leeway=token.leeway
    )
    bearers = Bearers(lambda: [key for file in files for key in file.value], wanted, now=parts.now)
    return means._replace(bearers=bearers, realm=token.realm, bounded=settings.bounded)


def _given_out_here(
    settings: AuthSettings,
    means: Means,
    rules: Callable[[], Rules],
    watch: Callable[..., Watched[Any]],
    parts: GateParts,
) -> Means:
    token = settings.token
    path = token.key or os.path.join(parts.state, SECRET_NAME)
    if token.key is None:
        ensure_secret(path, random=parts.random)
    elif _is_open(path):
        parts.note(f"warning: {path}: whoever is on this machine can read it and make tokens; chmod o-r")
    file: Watched[SigningKey] = watch(path, partial(signing_key, path=path), MAX_KEYS)
    terms = Terms(
        issuer=token.issuer,
        service=token.service,
        lifetime=token.lifetime,
        refresh_lifetime=token.refresh_lifetime,
    )
    if means.passwords is None:
        raise InvalidArgument("tokens are given to users alone")
    server = TokenServer(
        passwords=means.passwords,
        rules=rules,
        key=lambda: file.value,
        terms=terms,
        random=parts.random,
        now=parts.now,
    )
    bearers = Bearers(lambda: [file.value.verifying], terms.access, now=parts.now)
    return means._replace(tokens=server, bearers=bearers)


def _is_open(path: str) -> bool:
    """Whether everybody can read it."""
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except (OSError, ValueError):
        return False  # whoever reads it says what is wrong
