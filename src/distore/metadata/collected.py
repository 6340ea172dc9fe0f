"""What a garbage collection tells of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a pass removed (or would): ``kind`` is content, image, lease, ingest, snapshot or offer, ``key``
    its digest, name, id, ref, SNAPSHOTTER/KEY or REPOSITORY@DIGEST. ``freed``: bytes on the disk; 0 while
    another namespace has the blob."""

    kind: str
    namespace: str
    key: str
    freed: int = 0


@dataclass(slots=True, kw_only=True)
class Collected:
    """What a pass came to: blobs kept, blobs removed, snapshots removed, other records removed, bytes
    freed, and the milliseconds of its two halves."""

    kept: int = 0
    removed: int = 0
    snapshots: int = 0
    records: int = 0
    freed: int = 0
    mark_ms: int = 0
    sweep_ms: int = 0
