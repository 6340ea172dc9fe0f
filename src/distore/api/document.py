"""Document: a manifest or index with its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import Index, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """``data`` are the verified bytes of ``descriptor``, ``parsed`` what they say."""

    descriptor: Descriptor
    data: bytes = field(repr=False)
    parsed: Manifest | Index
