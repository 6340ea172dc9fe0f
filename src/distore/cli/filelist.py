"""What ``dist ls`` shows of an image's files."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from distore.cli.imagefiles import OpenImages, fields, split, time_of
from distore.cli.output import printable
from distore.errors import DistoreError
from distore.unpack.filetree import FileKind

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from distore.app import App
    from distore.cli.output import Output
    from distore.unpack.fileaccess import LayerFiles
    from distore.unpack.filetree import FileInfo

_NO_TIME: Final = "-"


def list_files(args: argparse.Namespace, app: App, out: Output) -> None:
    """List what each word names; one that fails does not keep the others back.

    Args:
        args: ``what``: the words; ``long``, ``recursive``, ``platform``.
    """
    images = OpenImages(app, out, args.platform)
    for number, word in enumerate(args.what):
        try:
            _list(word, images, args, out, is_first=number == 0)
        except DistoreError as error:
            if len(args.what) == 1:
                raise
            out.error(error)


def _list(word: str, images: OpenImages, args: argparse.Namespace, out: Output, *, is_first: bool) -> None:
    image, path = split(word)
    files = images.of(image)
    path = path or "/"
    # As ls has it: -l tells of a link itself.
    info = files.tree.stat(path, follow=not args.long)
    if len(args.what) > 1 and not args.recursive:
        out.header(("" if is_first else "\n") + f"{printable(word)}:")
    if info.kind is not FileKind.FOLDER:
        _show([info], files, args, out, whole=path.strip("/"))
    elif args.recursive:
        _show((each for each in files.tree.walk(path) if each.path != info.path), files, args, out)
    else:
        _show(files.tree.scandir(path), files, args, out)


def _show(
    infos: Iterable[FileInfo], files: LayerFiles, args: argparse.Namespace, out: Output, *, whole: str = ""
) -> None:
    if out.as_json:
        for info in infos:
            out.record("", **fields(info, files))
        return
    named = ((info, info.path if whole or args.recursive else info.name) for info in infos)
    for line in _long(named) if args.long else (printable(name) for _, name in named):
        out.line(line)


def _long(named: Iterable[tuple[FileInfo, str]]) -> Iterator[str]:
    """Lines as those of ``ls -ln``; the widths are fixed, so that a listing streams."""
    for info, name in named:
        size = "{}, {}".format(*info.device) if info.device else str(info.size)
        link = f" -> {printable(info.link)}" if info.link is not None else ""
        yield (
            f"{stat.filemode(info.mode)} {info.links:>2} {info.uid:>5} {info.gid:>5} {size:>10}"
            f" {time_of(info, minutes=True) or _NO_TIME:<16} {printable(name)}{link}"
        )
