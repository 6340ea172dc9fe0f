"""ServeSettings: what the registry in front of a store does; each part of it reads its own table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distore.registry.authsettings import AuthSettings
from distore.registry.cachesettings import CacheSettings
from distore.registry.keepsettings import KeepSettings

if TYPE_CHECKING:
    from distore.registry.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What is served, to whom, and how long it is kept; how (addresses, workers, limits) is the server's.

    Args:
        images: Also serve the images of the store, under their whole names, to read.
        page: Serve the page for people at ``/``.
    """

    images: bool = True
    page: bool = True
    auth: AuthSettings = field(default_factory=AuthSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    keep: KeepSettings = field(default_factory=KeepSettings)

    @classmethod
    def read(cls, table: Table) -> ServeSettings:
        """Of the top of a configuration file; what is left in ``table`` is for the server.

        Raises:
            InvalidArgument: As Table.
        """
        return cls(
            images=table.flag("images", True),
            page=table.flag("page", True),
            auth=AuthSettings.read(table.table("auth")),
            cache=CacheSettings.read(table.table("cache")),
            keep=KeepSettings.read(table.table("keep")),
        )
