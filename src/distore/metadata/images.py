"""Images in the store's database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from distore.errors import NotFound
from distore.images.image import Image
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GET: Final = "SELECT name, media_type, digest, size, created, updated FROM images WHERE name = ?"
_LIST: Final = "SELECT name, media_type, digest, size, created, updated FROM images ORDER BY name"
_PUT: Final = (
    "INSERT INTO images (name, media_type, digest, size, created, updated) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET media_type = excluded.media_type, digest = excluded.digest,"
    " size = excluded.size, updated = excluded.updated"
)


class Database(Protocol):
    """What is needed of the store's database."""

    def query(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        """Rows; none while there is no database."""
        ...

    def change(self, statement: str, *arguments: object) -> int:
        """Do it durably, in a transaction of its own; the number of rows it touched."""
        ...


class Images:
    """An ImageStore.

    Args:
        now: Seconds since the epoch.
    """

    def __init__(self, database: Database, *, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now

    def get(self, name: str, /) -> Image:
        rows = self._database.query(_GET, name)
        if not rows:
            raise NotFound(f"image {name}: not in the store")
        return _image(rows[0])

    def put(self, name: str, target: Descriptor, /) -> Image:
        now = round(self._now() * 1_000_000)
        self._database.change(_PUT, name, target.media_type, target.digest, target.size, now, now)
        return self.get(name)

    def list(self) -> Iterator[Image]:
        for row in self._database.query(_LIST):
            yield _image(row)

    def delete(self, name: str, /) -> None:
        if not self._database.change("DELETE FROM images WHERE name = ?", name):
            raise NotFound(f"image {name}: not in the store")


def _image(row: tuple[object, ...]) -> Image:
    name, media_type, digest, size, created, updated = row
    return Image(
        name=str(name),
        target=Descriptor(media_type=str(media_type), digest=Digest(str(digest)), size=_number(size)),
        created=_moment(created),
        updated=_moment(updated),
    )


def _moment(value: object) -> datetime:
    return datetime.fromtimestamp(_number(value) / 1_000_000, UTC)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
