"""``IMAGE:/path`` on a command line, and the files it means."""

from __future__ import annotations

import gc
import stat
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.descriptor import Descriptor
    from distore.oci.platform import Platform
    from distore.unpack.fileaccess import LayerFiles
    from distore.unpack.filetree import FileInfo

_SIGN: Final = ":/"  # a tag has no slash, so that a path begins at the last of these


def add_platform(parser: argparse.ArgumentParser) -> None:
    """The flag that says which image of an index is meant."""
    parser.add_argument(
        "--platform",
        metavar="P",
        help="which image of an index, such as linux/arm64 (default: this machine's)",
    )


def split(text: str) -> tuple[str, str | None]:
    """Image and path of ``IMAGE:/path``; without a path None."""
    image, sign, path = text.rpartition(_SIGN)
    return (image, f"/{path}") if sign else (text, None)


def with_path(text: str) -> tuple[str, str]:
    """The same where a path is needed.

    Raises:
        InvalidArgument: There is none.
    """
    image, path = split(text)
    if not image or path is None:
        raise InvalidArgument(f"{text[:80]!a}: want IMAGE:/PATH, such as redis:8:/etc/passwd")
    return image, path


class OpenImages:
    """The files of images of the store, each opened once."""

    def __init__(self, app: App, out: Output, platform: str | None) -> None:
        self._app = app
        self._out = out
        self._platform = _platform(platform)
        self._chosen = platform is not None
        self._open: dict[str, LayerFiles] = {}

    def of(self, text: str) -> LayerFiles:
        """Those of an image.

        Args:
            text: The image, as people name it.
        Raises:
            NotFound: It, or a part of it, is not in the store; says what to do.
            FailedPrecondition: An artifact.
            DataLoss: A layer is damaged.
        """
        if text not in self._open:
            root = self._app.copier.root_of(flags.image(text))
            # What is made stays until the end: to look for garbage in it takes a third of the time.
            gc.disable()
            try:
                self._open[text] = self._opened(text, root)
            finally:
                gc.enable()
        return self._open[text]

    def _opened(self, text: str, root: Descriptor) -> LayerFiles:
        from distore.api.files import layer_files

        return layer_files(
            self._app.content,
            root,
            self._platform,
            subject=f"image {text}",
            chosen=self._chosen,
            watch=self._watch,
        )

    def _watch(self, layers: int) -> None:
        import sys

        if sys.stderr is not None and sys.stderr.isatty():
            self._out.note(f"dist: reading {layers} layer{'s' if layers > 1 else ''} for the names in them")


def _platform(text: str | None) -> Platform:
    from distore.api.transfers import this_platform
    from distore.oci.platform import Platform

    host = this_platform()
    return Platform.parse(text, host=host) if text else host


def fields(info: FileInfo, files: LayerFiles) -> dict[str, object]:
    """A file's fields under --json; stable."""
    return {
        "path": info.path,
        "type": info.kind.value,
        "mode": f"{stat.S_IMODE(info.mode):04o}",
        "uid": info.uid,
        "gid": info.gid,
        "size": info.size,
        "mtime": time_of(info),
        "link": info.link,
        "device": None if info.device is None else "{}:{}".format(*info.device),
        "links": info.links,
        "xattrs": {name: value.hex() for name, value in sorted(info.xattrs.items())},
        "layer": None if info.place is None else files.image.layers[info.place.layer].digest,
    }


def time_of(info: FileInfo, *, minutes: bool = False) -> str | None:
    """RFC 3339 in UTC with the parts of a second that there are, or short as ``ls -l``; None when no
    calendar has it."""
    from datetime import UTC, datetime, timedelta

    seconds, part = divmod(info.mtime, 1_000_000_000)
    try:
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return None
    text = when.isoformat(sep=" " if minutes else "T", timespec="minutes" if minutes else "seconds")
    fraction = f".{part:09}".rstrip("0") if part and not minutes else ""
    return text.removesuffix("+00:00") + ("" if minutes else f"{fraction}Z")
