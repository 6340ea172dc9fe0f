"""Rows of repositories as records, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore.errors import DataLoss, InvalidArgument
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.repositories import ManifestRecord, Tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    Row = tuple[object, ...]

MANIFEST: Final = "digest, media_type, artifact_type, subject, annotations, size, pushed, pulled, cached"
TAG: Final = "name, digest, media_type, size, updated, pulled, checked"
_MICROSECONDS: Final = 1_000_000


def manifest_of(repository: str, row: Row, children: Iterable[Row]) -> ManifestRecord:
    """Of a row of MANIFEST columns and, perhaps, ``used``; and rows (digest, size) of what it names.

    Raises:
        DataLoss: No such manifest can have been put.
    """
    digest, _, _, subject, _, _, pushed, pulled, cached, *used = row
    try:
        return ManifestRecord(
            descriptor=descriptor_of(row),
            subject=None if subject is None else Digest(str(subject)),
            children=tuple((Digest(str(child)), _number(size)) for child, size in children),
            pushed=moment(pushed),
            pulled=moment(pulled),
            used=moment(used[0]) if used else None,
            cached=bool(cached),
        )
    except (InvalidArgument, ValueError) as error:
        raise _damaged(repository, f"manifest {digest}") from error


def descriptor_of(row: Row) -> Descriptor:
    """What a list of referrers shows, of the first six MANIFEST columns.

    Raises:
        InvalidArgument, ValueError: No such manifest can have been put.
    """
    digest, media_type, artifact_type, _, annotations, size, *_ = row
    return Descriptor(
        media_type=str(media_type),
        digest=Digest(str(digest)),
        size=_number(size),
        artifact_type=None if artifact_type is None else str(artifact_type),
        annotations=json.loads(annotations) if isinstance(annotations, str) else {},
    )


def referrers_of(repository: str, rows: Iterable[Row]) -> list[Descriptor]:
    """``descriptor_of`` each.

    Raises:
        DataLoss: As for ``manifest_of``.
    """
    try:
        return [descriptor_of(row) for row in rows]
    except (InvalidArgument, ValueError) as error:
        raise _damaged(repository, "a referrer") from error


def tag_of(repository: str, row: Row) -> Tag:
    """Of a row of TAG columns.

    Raises:
        DataLoss: No such tag can have been put.
    """
    name, digest, media_type, size, updated, pulled, checked = row
    try:
        descriptor = Descriptor(media_type=str(media_type), digest=Digest(str(digest)), size=_number(size))
    except InvalidArgument as error:
        raise _damaged(repository, f"tag {name}") from error
    return Tag(
        name=str(name),
        descriptor=descriptor,
        updated=moment(updated),
        pulled=moment(pulled),
        checked=moment(checked),
    )


def manifest_row(record: ManifestRecord) -> Row:
    """The columns up to size."""
    about = record.descriptor
    annotations = json.dumps(dict(about.annotations), sort_keys=True) if about.annotations else None
    return (about.digest, about.media_type, about.artifact_type, record.subject, annotations, about.size)


def microseconds(seconds: float) -> int:
    """What a column has for seconds since the epoch."""
    return round(seconds * _MICROSECONDS)


def moment(value: object) -> datetime | None:
    """The time in a column."""
    if not isinstance(value, int):
        return None
    try:
        return datetime.fromtimestamp(value / _MICROSECONDS, UTC)
    except (OverflowError, ValueError, OSError):  # a damaged row
        return None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _damaged(repository: str, what: str) -> DataLoss:
    return DataLoss(f"repository {repository}: the record of {what} is damaged; push it again")
