"""Grants: who asks, and what they may do; a gate puts them into the request."""

from __future__ import annotations

from typing import Final, Protocol

PULL: Final = "pull"
PUSH: Final = "push"
DELETE: Final = "delete"


class Grants(Protocol):
    """Of one request."""

    @property
    def user(self) -> str | None:
        """The name; None: nobody in particular."""
        ...

    def may(self, action: str, repository: str, /) -> bool:
        """Whether PULL, PUSH or DELETE is allowed there."""
        ...


class Everything:
    """Of a registry without a gate."""

    user: str | None = None

    def may(self, action: str, repository: str, /) -> bool:
        return True


EVERYTHING: Final = Everything()
