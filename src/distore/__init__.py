"""A content-addressable store for container images and OCI artifacts.

Names are imported when they are first used, so that ``import distore`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distore.content.local.store import LocalStore
    from distore.content.memory import MemoryStore
    from distore.content.store import Info, Owner, Status, Store, Writer
    from distore.errors import DistoreError
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.platform import Platform
    from distore.oci.reference import Reference

__all__ = [
    "Descriptor",
    "Digest",
    "DistoreError",
    "Info",
    "LocalStore",
    "MemoryStore",
    "Owner",
    "Platform",
    "Reference",
    "Status",
    "Store",
    "Writer",
]

_HOMES = {
    "Descriptor": "distore.oci.descriptor",
    "Digest": "distore.oci.digest",
    "DistoreError": "distore.errors",
    "Info": "distore.content.store",
    "LocalStore": "distore.content.local.store",
    "MemoryStore": "distore.content.memory",
    "Owner": "distore.content.store",
    "Platform": "distore.oci.platform",
    "Reference": "distore.oci.reference",
    "Status": "distore.content.store",
    "Store": "distore.content.store",
    "Writer": "distore.content.store",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'distore' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
