"""A content-addressable store for container images and OCI artifacts.

Names are imported when they are first used, so that ``import distore`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distore import aio, errors
    from distore.api.copying import copy
    from distore.api.document import Document
    from distore.api.files import ImageFiles
    from distore.api.registry import Registry
    from distore.api.store import Store
    from distore.content.local.store import LocalStore
    from distore.content.memory import MemoryStore
    from distore.content.store import Info, Owner, Status, Writer
    from distore.content.store import Store as ContentStore
    from distore.errors import DistoreError
    from distore.images.check import Checked
    from distore.images.image import Image
    from distore.images.usage import Usage
    from distore.leases import Lease, Resource
    from distore.metadata.collected import Collected, Removed
    from distore.metadata.explain import Explanation
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.oci.manifest import Index, Manifest
    from distore.oci.platform import Platform
    from distore.oci.reference import Reference
    from distore.snapshots.snapshotter import Info as Snapshot
    from distore.snapshots.snapshotter import Snapshotter
    from distore.transfer.progress import (
        Done,
        Event,
        Finished,
        Moved,
        Noted,
        Planned,
        Resolved,
        Started,
        Unpacked,
        Unpacking,
    )
    from distore.unpack.filetree import FileInfo, FileKind

__all__ = [
    "Checked",
    "Collected",
    "ContentStore",
    "Descriptor",
    "Digest",
    "DistoreError",
    "Document",
    "Done",
    "Event",
    "Explanation",
    "FileInfo",
    "FileKind",
    "Finished",
    "Image",
    "ImageFiles",
    "Index",
    "Info",
    "Lease",
    "LocalStore",
    "Manifest",
    "MemoryStore",
    "Moved",
    "Noted",
    "Owner",
    "Planned",
    "Platform",
    "Reference",
    "Registry",
    "Removed",
    "Resolved",
    "Resource",
    "Snapshot",
    "Snapshotter",
    "Started",
    "Status",
    "Store",
    "Unpacked",
    "Unpacking",
    "Usage",
    "Writer",
    "aio",
    "copy",
    "errors",
]

# Name -> module, and what it is called there when that is something else.
_HOMES = {
    "Checked": "distore.images.check",
    "Collected": "distore.metadata.collected",
    "ContentStore": "distore.content.store:Store",
    "Descriptor": "distore.oci.descriptor",
    "Digest": "distore.oci.digest",
    "DistoreError": "distore.errors",
    "Document": "distore.api.document",
    "Done": "distore.transfer.progress",
    "Event": "distore.transfer.progress",
    "Explanation": "distore.metadata.explain",
    "FileInfo": "distore.unpack.filetree",
    "FileKind": "distore.unpack.filetree",
    "Finished": "distore.transfer.progress",
    "Image": "distore.images.image",
    "ImageFiles": "distore.api.files",
    "Index": "distore.oci.manifest",
    "Info": "distore.content.store",
    "Lease": "distore.leases",
    "LocalStore": "distore.content.local.store",
    "Manifest": "distore.oci.manifest",
    "MemoryStore": "distore.content.memory",
    "Moved": "distore.transfer.progress",
    "Noted": "distore.transfer.progress",
    "Owner": "distore.content.store",
    "Planned": "distore.transfer.progress",
    "Platform": "distore.oci.platform",
    "Reference": "distore.oci.reference",
    "Registry": "distore.api.registry",
    "Removed": "distore.metadata.collected",
    "Resolved": "distore.transfer.progress",
    "Resource": "distore.leases",
    "Snapshot": "distore.snapshots.snapshotter:Info",
    "Snapshotter": "distore.snapshots.snapshotter",
    "Started": "distore.transfer.progress",
    "Status": "distore.content.store",
    "Store": "distore.api.store",
    "Unpacked": "distore.transfer.progress",
    "Unpacking": "distore.transfer.progress",
    "Usage": "distore.images.usage",
    "Writer": "distore.content.store",
    "copy": "distore.api.copying",
}
_MODULES = ("aio", "errors")


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"distore.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'distore' has no attribute {name!r}")
    module, _, own = _HOMES[name].partition(":")
    return getattr(import_module(module), own or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
