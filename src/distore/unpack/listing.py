"""Listings: what the members of one layer are, and where in its plain bytes each begins."""

from __future__ import annotations

from array import array
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from distore.diff.ahead import ReadAhead
from distore.diff.compression import BlobInput, Decompressed
from distore.diff.entry import MAX_SIZE
from distore.diff.tarmember import Member, members
from distore.errors import DataLoss, FailedPrecondition, NotFound, ResourceExhausted
from distore.oci import mediatypes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distore.content.store import Provider
    from distore.diff.tarmember import Meta
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest

MAX_MEMBERS: Final = 2_000_000  # of one layer
MAX_CHARACTERS: Final = 256 * 1024 * 1024  # of the names and links of one layer
MAX_RECORDS: Final = 64 * 1024 * 1024  # bytes of pax records of one layer; equal ones count once


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The members of a layer in their order; ``starts`` has the bytes before the headers of each."""

    members: Sequence[Member]
    starts: Sequence[int]


def read_listing(
    content: Provider, layer: Descriptor, diff_id: Digest, *, check: Callable[[], None] = lambda: None
) -> Listing:
    """The listing of a layer, which is read to its end.

    Args:
        check: Called again and again; what it raises ends the reading.
    Raises:
        NotFound: The layer is not there.
        FailedPrecondition: No tar file.
        DataLoss: Damaged, or not what its DiffID says.
        ResourceExhausted: More than a listing should hold.
    """
    subject = f"layer {layer.digest}"
    if not mediatypes.is_layer(layer.media_type):
        raise FailedPrecondition(f"{subject}: no tar file but {layer.media_type[:80]!a}")
    starts = array("Q")
    room = Room(subject)
    try:
        reader = content.reader(layer.digest)
    except NotFound as error:
        raise NotFound(f"{subject}: not in the store; dist pull brings it") from error
    with reader:
        plain = Decompressed(BlobInput(reader, on_progress=lambda _at: check()), subject=subject)
        ahead = ReadAhead(plain, algorithm=diff_id.algorithm, limit=MAX_SIZE, subject=subject)
        with closing(ahead):
            stream = members(ahead, subject=subject, note=starts.append, holes=True)
            found = [room.taken(each) for each in stream if isinstance(each, Member)]
            actual = ahead.digest()
    if actual != diff_id:
        raise DataLoss(f"{subject}: unpacks to {actual}, the image's config promises {diff_id}")
    return Listing(members=found, starts=starts)


class Room:
    """How much a listing may still hold."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._members = MAX_MEMBERS
        self._characters = MAX_CHARACTERS
        self._records = MAX_RECORDS
        self._metas: dict[Meta, Meta] = {}

    def taken(self, member: Member) -> Member:
        """The member, what it says of itself shared with those that say the same.

        Raises:
            ResourceExhausted: There is no room for it.
        """
        self._members -= 1
        self._characters -= len(member.name) + len(member.link)
        meta = self._metas.setdefault(member.meta, member.meta)
        if meta is member.meta:
            self._records -= sum(len(key) + len(value) for key, value in meta.records)
        if self._members < 0 or self._characters < 0 or self._records < 0:
            raise ResourceExhausted(f"{self._subject}: more names and records than a listing should hold")
        return Member(  # without what only reading its bytes takes: that comes from its header again
            name=member.name,
            kind=member.kind,
            meta=meta,
            link=member.link,
            size=member.size,
            device=member.device,
        )
