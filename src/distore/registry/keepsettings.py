"""KeepSettings: how long things are kept, and how much (table ``[keep]``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distore.registry.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSettings:
    """Nothing, unless told otherwise."""

    @classmethod
    def read(cls, table: Table) -> KeepSettings:
        """Of the table of a configuration file.

        Raises:
            InvalidArgument: As Table.
        """
        table.done()
        return cls()
