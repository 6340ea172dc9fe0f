"""Apply a layer alone, into the upper folder of overlayfs: what it hides is said there, not done.

The tree that is seen through the overlay is the one that ``apply`` makes of the layers. A layer may come
before those below it are there: then it is taken for granted that what it says nothing of are folders,
and ``settle_upper`` looks later whether that was so.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distore._internal.oserrors import translate
from distore.diff.below import Below
from distore.diff.laying import open_root
from distore.diff.settle import Settling
from distore.diff.upperlayer import UpperLaying
from distore.oci.digest import DEFAULT_ALGORITHM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.content.store import Input
    from distore.diff.entry import ApplyOptions
    from distore.diff.settle import Open
    from distore.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedUpper:
    """A layer that was applied alone.

    Args:
        diff_id: The digest of the plain tar file; the caller compares it.
        size: Its bytes.
        left_out: Devices and extended attributes that could not, or must not, be made.
        open: What the layers below decide; None: nothing, they were known.
    """

    diff_id: Digest
    size: int
    left_out: int
    open: Open | None


def apply_upper(
    layer: Input,
    upper: str,
    options: ApplyOptions,
    *,
    attributes: bytes,
    subject: str,
    algorithm: str = DEFAULT_ALGORITHM,
    lower: Sequence[str] | None = None,
) -> AppliedUpper:
    """Lay a plain tar file into ``upper``, an empty folder that nobody else changes meanwhile.

    Nothing is synced. After an error the folder is in between, and good for nothing.

    Args:
        layer, subject, algorithm: As for ``apply``.
        attributes: What opaque folders are said by: ``b"trusted.overlay."`` or ``b"user.overlay."``.
        lower: The upper folders of the layers below, the uppermost first; none for the lowest layer.
            None: they are not there yet, and ``settle_upper`` has to follow.
    Raises:
        DistoreError: As ``apply``.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(open_root(upper, options, subject))
        below = None if lower is None else stack.enter_context(_open_below(lower, attributes, subject))
        laid = UpperLaying(folder, options, subject, below=below, attributes=attributes)
        ahead = laid.take(layer, options, algorithm=algorithm)
    return AppliedUpper(
        diff_id=ahead.digest(), size=ahead.size, left_out=laid.left_out, open=None if below else laid.open
    )


def settle_upper(
    upper: str,
    applied: AppliedUpper,
    lower: Sequence[str],
    options: ApplyOptions,
    *,
    attributes: bytes,
    subject: str,
) -> bool:
    """Finish what ``apply_upper`` made without the layers below, once these are finished themselves:
    folders that the layer does not tell of get what they have below; what hides nothing goes.

    Args:
        lower, options, attributes, subject: As for ``apply_upper``.
    Returns:
        Whether that was possible. If not (a link to a folder below is on the way of a name, a hard link
        leads to a file below), nothing was changed: empty ``upper``, and apply the layer with ``lower``.
    Raises:
        DistoreError: The folder is good for nothing.
    """
    if applied.open is None:
        return True
    with (
        open_root(upper, options, subject) as folder,
        _open_below(lower, attributes, subject) as below,
    ):
        settling = Settling(folder, below, options, subject, attributes=attributes)
        try:
            return settling.settle(applied.open)
        except OSError as error:
            raise translate(error, settling.at) from error


def _open_below(lower: Sequence[str], attributes: bytes, subject: str) -> Below:
    try:
        return Below(lower, attributes)
    except OSError as error:
        raise translate(error, f"{subject}: the layers below") from error
