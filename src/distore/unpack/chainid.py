"""ChainIDs: the name of a stack of layers (image-spec, config.md, "Layer ChainID")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.errors import InvalidArgument
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """The ChainID of each layer with all those below it, the lowest first."""
    found: list[Digest] = []
    for diff_id in diff_ids:
        found.append(Digest.of(f"{found[-1]} {diff_id}".encode()) if found else diff_id)
    return tuple(found)


def chain_id(diff_ids: Sequence[Digest]) -> Digest:
    """That of all layers together.

    Raises:
        InvalidArgument: There are none.
    """
    if not diff_ids:
        raise InvalidArgument("no layers have no chain id")
    return chain_ids(diff_ids)[-1]
