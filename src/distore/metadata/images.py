"""Images: the ImageStore in the store's database."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final

from distore.content.rules import check_labels, updated_labels
from distore.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound
from distore.images.image import Image
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping

    from distore._internal.filters import Adaptor
    from distore.content.local.database import Database

_MAX_NAME: Final = 4096  # characters
_COLUMNS: Final = "name, media_type, digest, size, annotations, created, updated"
_GET: Final = f"SELECT {_COLUMNS} FROM images WHERE namespace = ? AND name = ?"  # noqa: S608
_LIST: Final = (  # a row for each label, and one for an image without
    "SELECT i.name, media_type, digest, size, annotations, created, updated, l.key, l.value"
    " FROM images AS i LEFT JOIN image_labels AS l ON l.namespace = i.namespace AND l.name = i.name"
    " WHERE i.namespace = ? ORDER BY i.name"
)
_LABELS: Final = "SELECT key, value FROM image_labels WHERE namespace = ? AND name = ? ORDER BY key"
_PUT: Final = (
    "INSERT INTO images (namespace, name, media_type, digest, size, annotations, created, updated)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace, name) DO UPDATE SET"
    " media_type = excluded.media_type, digest = excluded.digest, size = excluded.size,"
    " annotations = excluded.annotations, updated = excluded.updated"
)
_DELETE: Final = "DELETE FROM images WHERE namespace = ? AND name = ?"
_REMOVE_LABELS: Final = "DELETE FROM image_labels WHERE namespace = ? AND name = ?"
_ADD_LABEL: Final = "INSERT INTO image_labels VALUES (?, ?, ?, ?)"


class Images:
    """The images of one namespace. Thread-safe.

    Args:
        now: Seconds since the epoch.
        made: Told before a namespace may get its first image.
    """

    def __init__(
        self,
        database: Database,
        *,
        namespace: str,
        now: Callable[[], float],
        made: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._now = now
        self._made = made

    def get(self, name: str, /) -> Image:
        rows = self._database.query(_GET, self._namespace, name)
        if not rows:
            raise _not_found(name)
        return _image(rows[0], self._labels(name))

    def create(self, name: str, target: Descriptor, /, *, labels: Mapping[str, str] | None = None) -> Image:
        _check_name(name)
        check_labels(labels or {})
        self._made()
        with self._database.transaction() as connection:
            if connection.execute(_GET, (self._namespace, name)).fetchone():
                raise AlreadyExists(f"image {name}: exists already", subject=name)
            self._write(connection, name, target)
            self._write_labels(connection, name, labels or {})
            return self.get(name)

    def put(self, name: str, target: Descriptor, /) -> Image:
        _check_name(name)
        self._made()
        with self._database.transaction() as connection:
            self._write(connection, name, target)
            return self.get(name)  # within: by now somebody may have deleted it

    def update(self, image: Image, /, *fieldpaths: str) -> Image:
        if not self._database.query(_GET, self._namespace, image.name):
            raise _not_found(image.name)  # without making a database
        with self._database.transaction() as connection:
            row = connection.execute(_GET, (self._namespace, image.name)).fetchone()
            if row is None:
                raise _not_found(image.name)
            old = _image(row, self._labels(image.name))
            new = _updated(old, image, fieldpaths)
            check_labels(new.labels)
            self._write(connection, image.name, new.target)
            if new.labels != old.labels:
                connection.execute(_REMOVE_LABELS, (self._namespace, image.name))
                self._write_labels(connection, image.name, new.labels)
            return self.get(image.name)

    def list(self, *filters: str) -> Iterator[Image]:
        if not filters:
            return self._all(None)
        from distore._internal.filters import parse

        return self._all(parse(filters).match)  # here: a bad filter fails at the call

    def delete(self, name: str, /) -> None:
        if not self._database.query(_GET, self._namespace, name):
            raise _not_found(name)  # without making a database
        with self._database.transaction() as connection:
            connection.execute(_REMOVE_LABELS, (self._namespace, name))
            if not connection.execute(_DELETE, (self._namespace, name)).rowcount:
                raise _not_found(name)

    def _all(self, match: Callable[[Adaptor], bool] | None) -> Iterator[Image]:
        rows = self._database.stream(_LIST, self._namespace)
        for _, group in groupby(rows, key=lambda row: row[0]):
            first, *more = group
            pairs = sorted((str(key), str(value)) for *_, key, value in (first, *more) if key is not None)
            image = _image(first[:-2], dict(pairs))
            if match is None or match(adaptor(image)):
                yield image

    def _labels(self, name: str) -> dict[str, str]:
        return {str(key): str(value) for key, value in self._database.query(_LABELS, self._namespace, name)}

    def _write(self, connection: sqlite3.Connection, name: str, target: Descriptor) -> None:
        now = round(self._now() * 1_000_000)
        annotations = json.dumps(dict(target.annotations), sort_keys=True) if target.annotations else None
        row = (self._namespace, name, target.media_type, target.digest, target.size, annotations, now, now)
        connection.execute(_PUT, row)

    def _write_labels(self, connection: sqlite3.Connection, name: str, labels: Mapping[str, str]) -> None:
        rows = [(self._namespace, name, key, value) for key, value in labels.items() if value]
        connection.executemany(_ADD_LABEL, rows)


def adaptor(image: Image) -> Adaptor:
    """What a filter sees of an image (containerd core/metadata/adaptors.go)."""

    def field(path: tuple[str, ...]) -> str | None:
        match path:
            case ("name",):
                return image.name
            case ("target", "digest"):
                return image.target.digest
            case ("target", "mediatype"):
                return image.target.media_type
            case ("labels", *key) if key:
                return image.labels.get(".".join(key))
            case ("annotations", *key) if key:
                return image.target.annotations.get(".".join(key))
        return None

    return field


def _updated(old: Image, new: Image, fieldpaths: tuple[str, ...]) -> Image:
    for path in fieldpaths or ("target", "labels"):
        if path == "target":
            old = replace(old, target=new.target)
        elif path == "annotations":
            old = replace(old, target=replace(old.target, annotations=new.target.annotations))
        elif path == "labels" or path.startswith("labels."):
            old = replace(old, labels=updated_labels(old.labels, new.labels, (path,)))
        else:
            raise InvalidArgument(f"field path {path[:60]!a}: want target, annotations, labels or labels.KEY")
    return old


def _check_name(name: str) -> None:
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise InvalidArgument(f"image {name[:60]!a}: want a printable name of up to {_MAX_NAME} characters")


def _not_found(name: str) -> NotFound:
    return NotFound(f"image {name}: not in the store")


def _image(row: tuple[object, ...], labels: Mapping[str, str]) -> Image:
    name, media_type, digest, size, annotations, created, updated = row
    try:
        target = Descriptor(
            media_type=str(media_type),
            digest=Digest(str(digest)),
            size=_number(size),
            annotations=json.loads(annotations) if isinstance(annotations, str) else {},
        )
    except (InvalidArgument, ValueError) as error:
        raise DataLoss(
            f"image {name}: its record is damaged; dist images rm forgets it, dist db rebuild repairs more"
        ) from error
    return Image(
        name=str(name),
        target=target,
        created=_moment(created),
        updated=_moment(updated),
        labels=labels,
    )


def _moment(value: object) -> datetime:
    return datetime.fromtimestamp(_number(value) / 1_000_000, UTC)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
