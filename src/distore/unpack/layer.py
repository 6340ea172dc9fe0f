"""One layer of the store, laid over a folder and verified; and what is told of that meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from distore.diff.apply import apply
from distore.diff.compression import BlobInput, Decompressed
from distore.errors import DataLoss

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import Provider
    from distore.diff.entry import ApplyOptions
    from distore.oci.descriptor import Descriptor
    from distore.oci.digest import Digest

_TELL: Final = 8 * 1024 * 1024  # bytes of a layer between two words about it


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRead:
    """So far ``offset`` bytes of a layer, as it is stored, are read; ``size`` are all of them."""

    layer: Descriptor
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDone:
    """A layer is committed as a part of ``chain_id``. ``how``: ``unpacked``, ``present`` (it was there) or
    ``followed`` (another process unpacked it). ``size``: plain bytes, None where nobody counted."""

    layer: Descriptor
    chain_id: Digest
    how: str
    size: int | None = None
    left_out: int = 0


class Told(Protocol):
    """Hears of an unpacking, from any thread."""

    def __call__(self, news: LayerRead | LayerDone, /) -> None: ...


class Teller:
    """Passes on how far a layer is read, not too often.

    Args:
        check: Called each time; raises to stop the work.
    """

    def __init__(self, layer: Descriptor, tell: Told, check: Callable[[], None]) -> None:
        self._layer = layer
        self._tell = tell
        self._check = check
        self._next = 0

    def __call__(self, offset: int) -> None:
        self._check()
        if offset >= self._next:
            self._next = offset + _TELL
            self._tell(LayerRead(layer=self._layer, offset=offset))


def apply_layer(
    content: Provider,
    layer: Descriptor,
    diff_id: Digest,
    folder: str,
    options: ApplyOptions,
    *,
    on_progress: Callable[[int], None] = lambda _offset: None,
) -> int:
    """Lay one layer of the store over a folder; how many attributes and devices were left out.

    Raises:
        DataLoss: It is damaged, or not what the config promises.
        DistoreError: As ``apply``.
    """
    subject = f"layer {layer.digest}"
    with content.reader(layer.digest) as reader:
        plain = Decompressed(
            BlobInput(reader, on_progress=on_progress), subject=subject, limit=options.max_size
        )
        applied = apply(plain, folder, options, subject=subject, algorithm=diff_id.algorithm)
    check_diff_id(layer, applied.diff_id, diff_id)
    return applied.left_out


def check_diff_id(layer: Descriptor, actual: Digest, wanted: Digest) -> None:
    """Compare what a layer unpacked to with what the image's config promises.

    Raises:
        DataLoss: They differ.
    """
    if actual != wanted:
        raise DataLoss(f"layer {layer.digest}: unpacks to {actual}, the image's config promises {wanted}")
