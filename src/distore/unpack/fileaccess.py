"""The bytes of an image's files, straight out of its layers: nothing is unpacked."""

from __future__ import annotations

import io
from collections import defaultdict
from threading import Event
from typing import TYPE_CHECKING, Final

from distore._internal.pool import map_unordered
from distore.content.blobs import CHUNK
from distore.diff.compression import Decompressed
from distore.diff.frames import HEAD, compression_of
from distore.diff.tarmember import REGULAR, Member, members, shown
from distore.errors import Cancelled, DataLoss, FailedPrecondition, NotFound
from distore.unpack.filetree import FileInfo, FileKind, FileTree
from distore.unpack.listing import read_listing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol, Self

    from _typeshed import WriteableBuffer

    from distore.content.store import Input, Provider, Reader
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest
    from distore.unpack.filetree import Place
    from distore.unpack.layers import ImageLayers
    from distore.unpack.listing import Listing
    from distore.unpack.listingfiles import ListingFiles

    class Watch(Protocol):
        """Told the number of layers that are to be read for their names, before they are."""

        def __call__(self, layers: int, /) -> None: ...


_WORKERS: Final = 2  # layers that are read at once; each has a thread that unpacks, too
# Files up to this many bytes are held in memory while they are open: going back costs nothing then.
_HELD: Final = 4 * 1024 * 1024


def _unwatched(_layers: int) -> None:
    return None


class LayerFiles:
    """An image's files. Safe to share between threads.

    Args:
        content: Has the layers.
        image: What the layers are.
        kept: Where listings of layers are kept, or None.
        subject: What messages call the image.
    Raises:
        NotFound: A layer is not there.
        DataLoss: One is damaged, or not what its DiffID says.
        DistoreError: As ``FileTree``.
    """

    def __init__(
        self,
        content: Provider,
        image: ImageLayers,
        *,
        kept: ListingFiles | None,
        subject: str,
        watch: Watch = _unwatched,
    ) -> None:
        self.image = image
        self.subject = subject
        self._content = content
        listings = _listings(content, image, kept, watch)
        names = [f"layer {layer.digest}" for layer in image.layers]
        self.tree = FileTree(listings, subjects=names, subject=subject)

    def open(self, path: str) -> io.BufferedIOBase:
        """A regular file for reading; links are followed. It can seek: going back means to unpack
        the layer again from its start when the file is large.

        Raises:
            NotFound: It is not there.
            FailedPrecondition: It is something else.
        """
        info = self.regular(path)
        raw = _File(self, info)
        if info.size > _HELD:
            return io.BufferedReader(raw, CHUNK)
        with raw:
            return io.BytesIO(raw.readall())

    def read(self, path: str) -> bytes:
        """All bytes of a regular file.

        Raises:
            NotFound, FailedPrecondition: As ``open``.
        """
        with _File(self, self.regular(path)) as raw:
            return raw.readall()

    def regular(self, path: str) -> FileInfo:
        """About a regular file, links followed.

        Raises:
            NotFound, FailedPrecondition: As ``open``.
        """
        info = self.tree.stat(path)
        if info.kind is not FileKind.FILE:
            raise FailedPrecondition(f"{self.subject}: {shown(info.path)} is a {info.kind}, want a file")
        return info

    def pieces(self, places: Iterable[Place]) -> Iterator[tuple[Place, Member | memoryview]]:
        """The members at some places: each Member, then its bytes in pieces that are good until the
        next. Layer by layer, in the order of the layers: each is unpacked once, as far as needed.

        Raises:
            NotFound: A layer is gone by now.
            DataLoss: Damaged.
        """
        wanted: dict[int, dict[int, Place]] = defaultdict(dict)
        for place in places:
            wanted[place.layer][place.start] = place
        for layer in sorted(wanted):
            with _Opened(self._content, self.image.layers[layer]) as opened:
                for start in sorted(wanted[layer]):
                    place = wanted[layer][start]
                    for each in opened.member(start, self.tree.member(place)):
                        yield place, each

    def opened(self, place: Place) -> MemberStream:
        """One member, from its start.

        Raises:
            NotFound: The layer is gone by now.
        """
        return MemberStream(_Opened(self._content, self.image.layers[place.layer]), place, self.tree)


def _listings(
    content: Provider, image: ImageLayers, kept: ListingFiles | None, watch: Watch
) -> list[Listing]:
    """Those of all layers; what is not kept is read, the largest layers first."""
    pairs = list(zip(image.layers, image.diff_ids, strict=True))
    found = {diff_id: kept.get(layer, diff_id) if kept else None for layer, diff_id in pairs}
    missing = {diff_id: layer for layer, diff_id in pairs if found[diff_id] is None}
    if missing:
        watch(len(missing))
    stopped = Event()

    def check() -> None:
        if stopped.is_set():
            raise Cancelled("another layer failed first")

    def read(pair: tuple[Digest, Descriptor]) -> tuple[Digest, Listing]:
        diff_id, layer = pair
        listing = read_listing(content, layer, diff_id, check=check)
        if kept is not None:
            kept.put(layer, diff_id, listing)
        return diff_id, listing

    largest = sorted(missing.items(), key=lambda pair: -pair[1].size)
    for diff_id, listed in map_unordered(read, largest, workers=_WORKERS, stop=stopped.set):
        found[diff_id] = listed
    return [each for _, diff_id in pairs if (each := found[diff_id]) is not None]


class _Opened:
    """A layer that is read forward; leaving the ``with`` block closes it."""

    def __init__(self, content: Provider, layer: Descriptor) -> None:
        self.subject = f"layer {layer.digest}"
        try:
            self._reader = content.reader(layer.digest)
        except NotFound as error:
            raise NotFound(f"{self.subject}: not in the store; dist pull brings it") from error
        self._begin = self._end = 0  # which of the plain bytes lie in the space
        self._space = memoryview(bytearray(CHUNK))
        self._raw = _Raw(self._reader)
        try:
            is_plain = compression_of(self._reader.read_at(HEAD, 0)) is None
            self._plain: Input = self._raw if is_plain else Decompressed(self._raw, subject=self.subject)
        except BaseException:
            self.close()
            raise
        self._may_jump = is_plain

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the layer; a second call does nothing."""
        self._reader.close()

    def member(self, start: int, expected: Member) -> Iterator[Member | memoryview]:
        """The member whose headers begin there, then its bytes; not before an earlier one.

        Raises:
            DataLoss: Another one is there, or none.
        """
        stream = members(self._from(start), subject=self.subject)
        try:
            found = next(stream, None)
        except FailedPrecondition:
            found = None
        wanted = expected.name, expected.kind, expected.size
        if not isinstance(found, Member) or (found.name, found.kind, found.size) != wanted:
            name = shown(expected.name)
            raise DataLoss(
                f"{self.subject}: {name} is not where its listing says; remove listings/ of the store"
            )
        yield found
        left = found.size if found.kind == REGULAR else 0
        while left:
            piece = next(stream)
            assert isinstance(piece, memoryview)
            yield piece
            left -= len(piece)

    def _from(self, start: int) -> Iterator[memoryview]:
        if self._may_jump and start >= self._end:
            self._begin = self._end = self._raw.offset = start
        while self._end <= start:
            if not self._fill():
                return
        yield self._space[start - self._begin : self._end - self._begin]
        while size := self._fill():
            yield self._space[:size]

    def _fill(self) -> int:
        size = self._plain.readinto(self._space) or 0
        self._begin, self._end = self._end, self._end + size
        return size


class _Raw:
    """A blob as an Input that can be told where to go on."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.offset = 0

    def readinto(self, buffer: memoryview, /) -> int:
        size = self._reader.readinto_at(buffer, self.offset)
        self.offset += size
        return size


class MemberStream:
    """The bytes of one member, forward."""

    def __init__(self, opened: _Opened, place: Place, tree: FileTree) -> None:
        self._opened = opened
        self._stream = opened.member(place.start, tree.member(place))
        self._piece = memoryview(b"")
        self.offset = 0  # of what is read next

    def readinto(self, buffer: memoryview, /) -> int:
        """As ``Input.readinto``."""
        while not self._piece:
            found = next(self._stream, None)
            if found is None:
                return 0
            if isinstance(found, memoryview):
                self._piece = found
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._take(size)
        return size

    def skip(self, size: int) -> None:
        """Leave out that many bytes."""
        while size:
            if not self._piece:
                found = next(self._stream, None)
                if found is None:
                    return
                self._piece = found if isinstance(found, memoryview) else self._piece
            taken = min(size, len(self._piece))
            self._take(taken)
            size -= taken

    def close(self) -> None:
        """Let go of the layer."""
        self._opened.close()

    def _take(self, size: int) -> None:
        self._piece = self._piece[size:]
        self.offset += size


class _File(io.RawIOBase):
    """A regular file of an image."""

    def __init__(self, files: LayerFiles, info: FileInfo) -> None:
        super().__init__()
        assert info.place is not None
        self._files = files
        self._place = info.place
        self._size = info.size
        self._at = 0
        self._stream: MemberStream | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._size or not view:
            return 0
        if self._stream is None or self._stream.offset > self._at:
            self._let_go()
            self._stream = self._files.opened(self._place)
        self._stream.skip(self._at - self._stream.offset)
        size = self._stream.readinto(view)
        self._at += size
        return size

    def readall(self) -> bytes:
        pieces = []
        space = memoryview(bytearray(min(CHUNK, max(1, self._size - self._at))))
        while size := self.readinto(space):
            pieces.append(bytes(space[:size]))
        return b"".join(pieces)

    def close(self) -> None:
        self._let_go()
        super().close()

    def _let_go(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
