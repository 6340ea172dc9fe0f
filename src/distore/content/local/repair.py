"""What fsck does about a bad blob: quarantine it, or fetch, verify and then swap."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from distore._internal import fsops
from distore.content import blobs
from distore.content.local import tree
from distore.content.local.paths import BLOB_MODE
from distore.content.local.problem import Problem, file_of
from distore.errors import DistoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distore.content.local.check import Suppliers
    from distore.content.local.store import LocalStore
    from distore.oci.digest import Digest


def make_read_only(store: LocalStore, digest: Digest, problem: Problem) -> Problem:
    """Take the write permission away."""
    try:
        with store.file_reader(digest) as reader:
            fsops.set_mode(reader.fileno(), BLOB_MODE)
    except (DistoreError, OSError) as error:
        return replace(problem, detail=f"{problem.detail}; not mended: {error}")
    return replace(problem, action="fixed")


def damaged(store: LocalStore, digest: Digest, problem: Problem, suppliers: Suppliers | None) -> Problem:
    """Repair when somebody can supply the blob, quarantine otherwise."""
    failures = []
    if suppliers is not None:
        failures = supply(store, digest, suppliers, problem.file)
        if not failures:
            return replace(problem, action="repaired")
    detail = "; ".join([problem.detail, *failures])
    try:
        moved = quarantine(store, digest, problem.file)
    except OSError as error:
        return replace(problem, detail=f"{detail}; not quarantined: {os.strerror(error.errno or 0).lower()}")
    return replace(problem, detail=detail, action="quarantined" if moved else "repaired")


def missing(store: LocalStore, suppliers: Suppliers, *, dry_run: bool) -> Iterator[Problem]:
    """Blobs that an earlier run quarantined and nobody has brought back."""
    seen: set[Digest] = set()
    for digest in tree.quarantined(store.paths):
        if digest in seen or os.path.lexists(store.paths.blob(digest)):
            continue
        seen.add(digest)
        problem = Problem(kind="missing", subject=digest, detail="in quarantine since an earlier check")
        if not dry_run:
            failures = supply(store, digest, suppliers, None)
            detail = "; ".join([problem.detail, *failures])
            problem = replace(problem, detail=detail, action="none" if failures else "repaired")
        yield problem


def supply(
    store: LocalStore, digest: Digest, suppliers: Suppliers, file: tuple[int, int] | None
) -> list[str]:
    """Put verified bytes in place of the blob; why not, when nobody could."""
    failures = []
    for provider in suppliers(digest, store.records.labels_anywhere(digest)):
        try:
            with store.replacing_writer(f"repair-{digest}", digest) as writer:
                writer.truncate()
                blobs.copy(provider, digest, writer)
                if writer.digest() == digest and file is not None:
                    keep(store, digest, file)
                writer.commit(expected=digest)
        except DistoreError as error:
            failures.append(f"not repaired: {error}")
            continue
        return []
    return failures or ["not repaired: nobody is known to have it"]


def keep(store: LocalStore, digest: Digest, file: tuple[int, int]) -> None:
    """Link the bad file into quarantine while it is still the blob."""
    path = store.paths.blob(digest)
    try:
        if file_of(os.lstat(path)) == file:
            fsops.link(path, _place(store, digest))
    except FileNotFoundError:
        return


def quarantine(store: LocalStore, digest: Digest, file: tuple[int, int] | None) -> bool:
    """Move the bad file out of blobs/; False when another has taken its place meanwhile."""
    path = store.paths.blob(digest)
    place = _place(store, digest)
    try:
        if file_of(os.lstat(path)) != file:
            return False
        fsops.rename(path, place)
    except FileNotFoundError:
        return False
    is_it = file_of(os.lstat(place)) == file
    if not is_it:  # it came between the look and the rename: right bytes go back
        with suppress(FileExistsError):
            fsops.link(place, path)
        fsops.unlink(place)
    fsops.sync_directory(os.path.dirname(place))
    fsops.sync_directory(os.path.dirname(path))
    return is_it


def _place(store: LocalStore, digest: Digest) -> str:
    folder = os.path.join(store.paths.quarantine, digest.algorithm)
    fsops.ensure_directory(folder)
    moment = datetime.fromtimestamp(store.now(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return os.path.join(folder, f"{digest.encoded}.{moment}")
