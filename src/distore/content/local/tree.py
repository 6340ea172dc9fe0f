"""What lies in the store's tree and should not, or is not as it should be."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from distore._internal import filelock
from distore.content.local import ingests as notes
from distore.content.local.paths import IngestPaths, Paths, named
from distore.content.local.problem import Problem
from distore.errors import InvalidArgument
from distore.oci.digest import HEX_LENGTHS, Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def strays(paths: Paths) -> Iterator[Problem]:
    """Names below blobs/ and ingest/ that are not ours; they are reported and left alone."""
    for entry in _entries(paths.blobs):
        if entry.name not in HEX_LENGTHS or not entry.is_dir(follow_symlinks=False):
            yield _stray(entry.path, "not a folder of a known digest algorithm")
            continue
        for blob in _entries(entry.path):
            if named(entry.name, blob) is None:
                what = "not a regular file" if len(blob.name) == HEX_LENGTHS[entry.name] else "not a digest"
                yield _stray(blob.path, what)
    for entry in _entries(paths.ingests):
        if not entry.is_dir(follow_symlinks=False):
            yield _stray(entry.path, "not an ingest folder")


def ingests(paths: Paths, *, dry_run: bool, sleep: Callable[[float], None]) -> Iterator[Problem]:
    """Ingests that no listing can name, and what a crash left of ended ones."""
    for ingest in paths.all_ingest_folders():
        ref = notes.note(ingest.ref)
        data = os.path.exists(ingest.data)
        owner = Paths(paths.root, namespace=ingest.owning_namespace())
        if data and ref is not None and owner.ingest(ref).folder == ingest.folder:
            continue
        if not data:
            yield from _leftover(ingest, dry_run=dry_run, sleep=sleep)
        else:
            detail = (
                "has data but no ref" if ref is None else f"its ref {ref[:80]!r} belongs to another folder"
            )
            yield Problem(kind="ingest", subject=ingest.folder, detail=detail + "; remove the folder")


def _leftover(ingest: IngestPaths, *, dry_run: bool, sleep: Callable[[float], None]) -> Iterator[Problem]:
    """Gone already, being made or being ended by its owner, or left by a crash."""
    try:
        lock = filelock.acquire(ingest.lock, sleep=sleep) if not dry_run else None
    except FileNotFoundError:
        return
    if lock is None and not dry_run:
        return
    found = Problem(kind="ingest", subject=ingest.folder, detail="left over from an ingest that has ended")
    if lock is None:
        if notes.owner(ingest) is None and os.path.isdir(ingest.folder):
            yield found
        return
    try:
        if os.path.exists(ingest.data):
            return
        notes.discard(ingest)
    finally:
        lock.release()
    yield Problem(kind=found.kind, subject=found.subject, detail=found.detail, action="removed")


def quarantined(paths: Paths) -> Iterator[Digest]:
    """Digests in quarantine, each once for every file there."""
    for folder in _entries(paths.quarantine):
        if folder.name in HEX_LENGTHS:
            for entry in _entries(folder.path):
                encoded = entry.name.partition(".")[0]
                with suppress(InvalidArgument):  # a name of somebody else's
                    yield Digest(f"{folder.name}:{encoded}")


def _stray(path: str, detail: str) -> Problem:
    return Problem(kind="stray", subject=path, detail=detail)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        yield from entries
