"""Events of a transfer, in the order in which things happen; docs/reference/events.md is their schema.

An event is a fact about the past. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from distore.oci.descriptor import Descriptor

if TYPE_CHECKING:
    from distore.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all of them are; ``event`` is their name in JSON."""

    event: ClassVar[str] = "event"

    def to_json(self) -> dict[str, object]:
        """Its name and its fields; descriptors as the OCI documents have them."""
        document: dict[str, object] = {"event": self.event}
        for field in fields(self):
            value = getattr(self, field.name)
            document[field.name] = value.to_json() if isinstance(value, Descriptor) else value
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved(Event):
    """The name stands for this root."""

    event: ClassVar[str] = "resolved"
    name: str
    descriptor: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Event):
    """Everything is known before the first byte of a blob: ``blobs`` in all of ``size`` bytes, of
    which ``missing`` bytes of ``missing_blobs`` must travel; ``kept`` of an earlier try need not.
    ``unpack``: bytes of layers, as they are stored, that may have to be unpacked."""

    event: ClassVar[str] = "planned"
    blobs: int
    size: int
    missing_blobs: int
    missing: int
    kept: int = 0
    unpack: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A blob begins to travel, from ``offset`` on."""

    event: ClassVar[str] = "started"
    digest: Digest
    media_type: str
    size: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved(Event):
    """So far ``offset`` bytes of a blob are there; at most a few of these a second and blob."""

    event: ClassVar[str] = "moved"
    digest: Digest
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Event):
    """A blob or manifest is there. ``how``: ``fetched``, ``pushed``, ``copied``, ``mounted``,
    ``present`` (it was there) or ``followed`` (another process brought it)."""

    event: ClassVar[str] = "done"
    digest: Digest
    media_type: str
    size: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacking(Event):
    """So far ``offset`` of the ``size`` bytes of a layer, as it is stored, are unpacked."""

    event: ClassVar[str] = "unpacking"
    digest: Digest
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked(Event):
    """A layer is a snapshot now, with all below it: ``chain_id``. ``how``: ``unpacked``, ``present`` (it
    was there) or ``followed`` (another process unpacked it). ``plain``: bytes that it unpacked to, null
    where nobody counted; ``size`` its bytes as it is stored; ``left_out`` devices and attributes that
    could not be made."""

    event: ClassVar[str] = "unpacked"
    digest: Digest
    chain_id: Digest
    size: int
    plain: int | None
    how: str
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted(Event):
    """One line for people: a retry, a resumption, a platform that is not there."""

    event: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """All is there, and the name with it. ``moved`` bytes travelled in ``seconds``."""

    event: ClassVar[str] = "finished"
    name: str
    descriptor: Descriptor
    size: int
    moved: int
    seconds: float
