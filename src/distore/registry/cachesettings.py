"""CacheSettings: which upstreams are kept copies of (table ``[cache]``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distore.registry.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Nothing, unless told otherwise."""

    @classmethod
    def read(cls, table: Table) -> CacheSettings:
        """Of the table of a configuration file.

        Raises:
            InvalidArgument: As Table.
        """
        table.done()
        return cls()
