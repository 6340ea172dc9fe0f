"""Access: what a token allows and what a request needs (Docker's token scope grammar)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.registry.grants import DELETE, PULL, PUSH
from distore.registry.routes import target_of
from distore.registry.tags import CATALOG_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from distore.registry.message import Request
    from distore.registry.routes import Target

_ALL: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """``KIND:NAME:ACTION,ACTION``; the name may have colons."""

    kind: str
    name: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(self.actions)}"

    def to_json(self) -> dict[str, object]:
        """An entry of the claim ``access``."""
        return {"type": self.kind, "name": self.name, "actions": list(self.actions)}

    @classmethod
    def parse(cls, text: str) -> Access | None:
        """None for what is no scope, which allows nothing."""
        kind, first, rest = text.partition(":")
        name, second, actions = rest.rpartition(":")
        if not (first and second and kind and name and actions):
            return None
        return cls(kind=kind, name=name, actions=tuple(actions.split(",")))


CATALOG: Final = Access(kind="registry", name="catalog", actions=(_ALL,))  # to list the repositories


def parse_all(texts: Iterable[str]) -> tuple[Access, ...]:
    """Of scopes that come one by one, or several in a text with spaces between."""
    found = (Access.parse(part) for text in texts for part in text.split())
    return tuple(access for access in found if access is not None)


def covers(granted: Sequence[Access], needed: Sequence[Access]) -> bool:
    """Whether everything needed is granted, by one scope or by several together."""
    return all(_allows(granted, access, action) for access in needed for action in access.actions)


def needed_for(request: Request) -> tuple[Access, ...]:
    """What a token must allow; nothing for the root of the API."""
    if request.path.rstrip("/") == CATALOG_PATH:
        return (Access(kind="registry", name="catalog", actions=(_ALL,)),)
    target = target_of(request.path)
    if not target.repository:
        return ()
    source = request.query.get("from") if request.method == "POST" else None
    # A blob that is mounted must be one that the client may read where it is.
    reading = [Access(kind="repository", name=source, actions=("pull",))] if source else []
    return (
        Access(kind="repository", name=target.repository, actions=_actions(request, target.kind)),
        *reading,
    )


def _allows(granted: Sequence[Access], access: Access, action: str) -> bool:
    return any(
        (given.kind, given.name) == (access.kind, access.name)
        and (action in given.actions or _ALL in given.actions)
        for given in granted
    )


def _actions(request: Request, kind: str) -> tuple[str, ...]:
    if request.method in ("GET", "HEAD"):
        return ("pull",)
    # Who may push may give up what was begun; Docker's registry wants "delete" for that.
    if request.method == "DELETE" and kind != "upload":
        return ("delete",)
    return ("pull", "push")


class Needed(NamedTuple):
    """What a request does in a repository. ``source`` is the one that a blob is mounted from.

    ``scopes`` are what a client is told to ask for: who pushes looks first at what is there.
    """

    action: str
    scopes: tuple[Access, ...]
    source: str | None = None


def needed_in(request: Request, target: Target) -> Needed:
    """Of a request about a repository."""
    if request.method in ("GET", "HEAD") and target.kind != "upload":
        return Needed(PULL, (_access(target.repository, PULL),))
    # Who may push may give up what was begun; Docker's registry wants "delete" for that.
    if request.method == "DELETE" and target.kind != "upload":
        return Needed(DELETE, (_access(target.repository, DELETE),))
    source = request.query.get("from") if request.method == "POST" and target.kind == "uploads" else None
    pushing = _access(target.repository, PULL, PUSH)
    # A blob that is mounted must be one that the client may read where it is.
    return Needed(PUSH, (pushing, _access(source, PULL)) if source else (pushing,), source)


def _access(repository: str, *actions: str) -> Access:
    return Access(kind="repository", name=repository, actions=actions)
