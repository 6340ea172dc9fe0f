"""What the settings of a gate mean, in words for operators."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.registry.rules import ACTIONS, ANONYMOUS, EVERY_USER, MAX_FILE, Rules, rules_in
from distore.registry.watched import read_small

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distore.registry.authsettings import AuthSettings
    from distore.registry.rules import Rule

_EVERY: Final = ("", "0.0.0.0", "[::]", "::")  # noqa: S104 - to tell of it


def describe(settings: AuthSettings) -> list[str]:
    """What holds, in lines for people; reads the files that the settings name.

    Raises:
        NotFound, InvalidArgument: One of them is missing or wrong.
    """
    if not settings.enabled:
        return ["everybody may pull, push and delete everything"]
    # bcrypt and cryptography are loaded for who has a use for them.
    from distore.registry.htpasswd import Htpasswd
    from distore.registry.jwtkeys import verifying_keys

    lines = []
    if settings.htpasswd is not None:
        data = read_small(settings.htpasswd, limit=MAX_FILE)
        users = Htpasswd.parse(data, path=settings.htpasswd)
        lines.append(f"users: {len(users.hashes)}, of {settings.htpasswd}")
    token = settings.token
    if token.realm is not None:
        count = sum(len(verifying_keys(read_small(path, limit=MAX_FILE), path=path)) for path in token.keys)
        keys = f"{count} public key{'' if count == 1 else 's'}"
        lines.append(f"tokens: of {token.issuer}, from {token.realm}, proved by {keys}")
    elif settings.htpasswd is not None and token.issue:
        lines.append(f"tokens: given out at {settings.url or ''}/token, for {token.lifetime:g} s")
    if not settings.bounded:
        lines.append("a token allows what it says")
    rules = [*settings.standing, *_of_file(settings)]
    lines += [_line(rule) for rule in rules]
    if settings.htpasswd is None and token.realm is None and not any(rule.anonymous for rule in rules):
        lines.append("nobody can do anything: there are no users, and nothing is allowed to anonymous")
    return lines


def decide(settings: AuthSettings, *, user: str | None, action: str, repository: str) -> tuple[bool, str]:
    """Whether the rules let a user (None: nobody in particular) do something, and the rule that does.

    Raises:
        NotFound, InvalidArgument: A file that the settings name is missing or wrong; no such action.
    """
    if action not in ACTIONS:
        raise InvalidArgument(f"action {action[:60]!a}: want {', '.join(ACTIONS)}")
    if not settings.enabled:
        return True, describe(settings)[0]
    if user is not None and settings.token.realm is None and settings.htpasswd is not None:
        from distore.registry.htpasswd import Htpasswd

        known = Htpasswd.parse(read_small(settings.htpasswd, limit=MAX_FILE), path=settings.htpasswd)
        if user not in known.hashes:
            return False, f"{settings.htpasswd} has no user {user[:60]!a}"
    for rule in (*settings.standing, *_of_file(settings)):
        if action in Rules([rule]).allowed(user, repository):
            return True, _line(rule)
    if not settings.bounded:
        return False, f"no rule allows it; a token of {settings.token.issuer} may"
    return False, "no rule allows it"


def exposed(settings: AuthSettings, hosts: Iterable[str]) -> str | None:
    """A warning, if others than this machine can do everything; None: all is well.

    Args:
        hosts: Where the server listens.
    """
    if settings.enabled:
        return None
    names = ["every address" if host in _EVERY else host for host in hosts if not _is_loopback(host)]
    if not names:
        return None
    open_to = dict.fromkeys(names)
    return (
        f"warning: whoever reaches {', '.join(open_to)} may pull, push and delete everything; "
        "[auth] in the configuration says who may (docs/serve.md)"
    )


def _of_file(settings: AuthSettings) -> tuple[Rule, ...]:
    path = settings.rules_file
    return (
        () if path is None else rules_in(read_small(path, limit=MAX_FILE), path=path, groups=settings.groups)
    )


def _line(rule: Rule) -> str:
    users = [*sorted(rule.users), *([EVERY_USER] if rule.everyone else [])]
    users += [ANONYMOUS] if rule.anonymous else []
    actions = [action for action in ACTIONS if action in rule.actions]
    return f"{', '.join(users) or 'nobody'} may {', '.join(actions) or 'nothing'}: {rule.repositories}"


def _is_loopback(host: str) -> bool:
    if host.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
