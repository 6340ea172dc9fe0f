"""Scopes: what tokens allow, as sets that can be joined and compared."""

from __future__ import annotations

from typing import NamedTuple


class Permission(NamedTuple):
    """One action on one resource; ``kind`` and ``action`` are empty where a scope has no colons."""

    kind: str
    name: str
    action: str


Scopes = frozenset[Permission]


def parse_scopes(text: str) -> Scopes:
    """``repository:demo/app:pull,push`` and others, with spaces between them; a name may have colons."""
    found = set()
    for word in text.split():
        kind, colon, rest = word.partition(":")
        name, last, actions = rest.rpartition(":")
        if not colon or not last:
            found.add(Permission("", word, ""))
            continue
        found |= {Permission(kind, name, action) for action in actions.split(",")}
    return frozenset(found)


def spell_scopes(scopes: Scopes) -> tuple[str, ...]:
    """One text for each resource, in an order that is always the same."""
    actions: dict[tuple[str, str], list[str]] = {}
    for kind, name, action in sorted(scopes):
        actions.setdefault((kind, name), []).append(action)
    return tuple(
        f"{kind}:{name}:{','.join(some)}" if kind else name for (kind, name), some in actions.items()
    )


def join_scopes(challenged: Scopes, needed: Scopes) -> Scopes:
    """What to ask a token for.

    What the server wants to see and what will be needed soon, so that one token does for both. A
    server that speaks of other names than we do, as a mirror below a path does, knows better.
    """
    if challenged and not {one[:2] for one in challenged} & {one[:2] for one in needed}:
        return challenged
    return challenged | needed


def covers(held: Scopes, wanted: Scopes) -> bool:
    """Whether a token that was asked for ``held`` should do for ``wanted``."""
    return all(one in held or one._replace(action="*") in held for one in wanted)
