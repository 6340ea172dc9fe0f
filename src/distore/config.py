"""Config: everything the wiring in app.py needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from distore.remotes.options import RegistryOptions


# A NamedTuple for the sake of start-up: docs/decisions/0002-start-up.md.
class Config(NamedTuple):
    """Where things are. Paths are as given; nothing is read here.

    ``command`` is what locks of the store name as their owner; ``registry`` is None for verbs
    that talk to none; ``namespace`` is the one whose content and names are meant.
    """

    root: str
    command: str = "dist"
    registry: RegistryOptions | None = None
    namespace: str = "default"
