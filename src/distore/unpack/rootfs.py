"""An image's files as a plain folder, which is nobody's snapshot."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from distore._internal import fsops
from distore._internal.oserrors import translate, translated
from distore.diff.safepath import Root
from distore.errors import FailedPrecondition
from distore.unpack.layer import LayerDone, LayerRead, apply_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.content.store import Provider
    from distore.diff.entry import ApplyOptions
    from distore.unpack.layer import Told
    from distore.unpack.layers import ImageLayers

_MODE = 0o755  # of a root that no layer tells of


def write_rootfs(
    content: Provider,
    image: ImageLayers,
    folder: str,
    options: ApplyOptions,
    *,
    tell: Told = lambda _news: None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write the files of an image into a folder, which is made, or is there and empty; durable.

    When this raises nothing is left in it, and it is gone if it was made.

    Args:
        check: Called often; raises to stop the work.
    Raises:
        FailedPrecondition: It is not empty, or no folder.
        DataLoss: A layer is not what the config promises.
        DistoreError: As ``apply``.
    """
    made = make_folder(folder)
    try:
        for layer, diff_id in zip(image.layers, image.diff_ids, strict=True):

            def told(offset: int, layer: object = layer) -> None:
                check()
                tell(LayerRead(layer=layer, offset=offset))  # type: ignore[arg-type]  # bound early

            left_out = apply_layer(content, layer, diff_id, folder, options, on_progress=told)
            tell(LayerDone(layer=layer, chain_id=image.chain_id, how="unpacked", left_out=left_out))
        with translated(f"folder {folder}"):
            fsops.sync_file_system(folder)
    except BaseException:
        empty_folder(folder)
        if made:
            with suppress(OSError):
                os.rmdir(folder)
        raise


def make_folder(folder: str) -> bool:
    """Whether the folder was made; it is there, and empty, now.

    Raises:
        FailedPrecondition: It is not empty, or no folder.
    """
    subject = f"folder {folder}"
    try:
        os.mkdir(folder, _MODE)
    except FileExistsError:
        try:
            with os.scandir(folder) as entries:
                if next(entries, None) is not None:
                    raise FailedPrecondition(f"{subject}: not empty") from None
        except OSError as error:
            raise translate(error, subject) from error
        return False
    except OSError as error:
        raise translate(error, subject) from error
    return True


def empty_folder(folder: str) -> None:
    """Remove all that is in a folder, as far as that goes."""
    with suppress(OSError), Root(folder, unlock=True) as root:
        for name, _ in root.names(b""):
            root.remove(name)
