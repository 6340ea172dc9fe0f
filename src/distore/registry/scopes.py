"""Access: what a token allows and what a request needs (Docker's token scope grammar)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.registry.grants import DELETE, PULL, PUSH
from distore.registry.routes import target_of
from distore.registry.tags import CATALOG_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def scopes_for(request: Request) -> tuple[Access, ...]:
    """What a client is told to ask for; nothing for the root of the API."""
    target = target_of(request.path)
    if target.repository:
        return needed_in(request, target).scopes
    return (CATALOG,) if request.path.rstrip("/") == CATALOG_PATH else ()
