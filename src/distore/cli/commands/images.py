"""``dist images``: the names in the store, and what of the images is there."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import DistoreError, InvalidArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from distore.api.images import Images
    from distore.app import App
    from distore.cli.output import Output
    from distore.images.check import Checked, Checker
    from distore.images.image import Image

SUMMARY: Final = "list, name, label, check, mount or forget the images in the store"
EXAMPLES: Final = (
    "dist images --wide",
    "dist images --filter labels.team==web --filter 'name~=/redis:/'",
    "dist images tag redis:7 registry.example/mirror/redis:7",
    "dist images label redis:7 team=web reviewed=",
    "dist images check --platform linux/arm64 redis:7",
    "dist images usage",
    "dist images mount redis:7 /mnt",
    "dist images -q | dist images rm --sync -",
)
_MIN_NAME_WIDTH: Final = 24
_MEASURED: Final = 1000  # names that the width of the first column is made for; a listing streams
_DIGEST_WIDTH: Final = 71  # sha256
_SIZE_WIDTH: Final = 8
_PLATFORMS_WIDTH: Final = 24


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "rm forgets names; what nothing else needs goes with the next dist gc. check says for each image"
        " whether it is complete, and fails when one is not; what only a sparse index names need not be"
        " there. mount shows the files of an image, read-only, and needs root."
        " usage tells the bytes that images share, and those that would go with one. inspect, check,"
        " usage and tag take the digest of a manifest or index, too."
    )
    parser.add_argument(
        "action",
        nargs="?",
        default="ls",
        choices=("ls", "tag", "label", "rm", "inspect", "check", "usage", "mount", "unmount"),
        help="what to do (default: ls)",
    )
    parser.add_argument(
        "image",
        nargs="*",
        help="which; tag: the image, then its new names; label: the image, then KEY=VALUE, or KEY= to remove"
        " one; rm: - reads names from standard input, one a line; check, usage: default: all;"
        " mount: the image, then a folder; unmount: the folders",
    )
    _add_flags(parser)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="ls: print only the names")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FILTER",
        help="ls: only what it matches, by name, target.digest, target.mediatype, labels.KEY or"
        " annotations.KEY; several: what one of them matches",
    )
    parser.add_argument(
        "--wide", action="store_true", help="ls: also the bytes that are there, and the whole platforms"
    )
    parser.add_argument("--force", action="store_true", help="tag: take the name from an image that has it")
    parser.add_argument(
        "--sync", action="store_true", help="rm: collect garbage, too; returns when it is gone"
    )
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="P",
        help="check: this image of an index has to be there; may be given again (default: those that are);"
        " mount: which image of an index (default: this machine's)",
    )
    parser.add_argument(
        "--all-platforms", action="store_true", help="check: every image of an index has to be there"
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.api.images import Images

    images = Images(app.metadata)
    actions = {"ls": _show, "tag": _tag, "label": _label, "rm": _forget}
    if args.action in actions:
        actions[args.action](args, app, images, out)
        return
    if args.action in ("mount", "unmount"):
        (_mount if args.action == "mount" else _unmount)(args, app, out)
        return
    from distore.cli import imageviews

    views = {"inspect": imageviews.inspect, "check": imageviews.check, "usage": imageviews.usage}
    views[args.action](args, app, images, out)


def fields(image: Image) -> dict[str, object]:
    """An image's fields under --json; stable."""
    return {
        "name": image.name,
        "target": image.target.to_json(),
        "created": image.created,
        "updated": image.updated,
        "labels": dict(image.labels),
    }


def _show(args: argparse.Namespace, app: App, images: Images, out: Output) -> None:
    from distore.cli.commands.list import note_missing

    if args.image:
        raise InvalidArgument("images ls: takes no names; dist images inspect shows one")
    note_missing(args, app.content.root, out)
    found = images.list(*args.filter)
    if args.quiet and not args.json:
        from distore.cli.output import printable

        for image in found:
            out.line(printable(image.name))
        return
    _table(args, app, found, out)


def _table(args: argparse.Namespace, app: App, found: Iterator[Image], out: Output) -> None:
    from distore.cli.output import human_age, printable, row

    head = [] if args.json else list(islice(found, _MEASURED))
    name_width = max([_MIN_NAME_WIDTH, *(len(printable(image.name)) for image in head)])
    widths = (name_width, _DIGEST_WIDTH, *((_SIZE_WIDTH, _PLATFORMS_WIDTH) if args.wide else ()))
    out.header(row(("IMAGE", "DIGEST", *(("SIZE", "PLATFORMS") if args.wide else ()), "AGE"), widths))
    checker = _checker(app) if args.wide else None
    now = datetime.now(UTC)
    for image in chain(head, found):
        checked = _checked(checker, image, out) if checker else None
        wide = _wide(checked) if args.wide else ()
        age = human_age((now - image.updated).total_seconds())
        out.record(
            row((printable(image.name), image.target.digest, *wide, age), widths),
            **fields(image),
            size=checked.size if checked else None,
            platforms=list(checked.platforms) if checked else None,
        )


def _checker(app: App) -> Checker:
    from distore.images.check import Checker

    return Checker(app.content, ingests=False)


def _checked(checker: Checker, image: Image, out: Output) -> Checked | None:
    try:
        return checker.check(image.target)
    except DistoreError as error:  # the other images are worth to be seen
        out.error(error, subject=f"image {image.name}")
        return None


def _wide(checked: Checked | None) -> Sequence[str]:
    from distore.cli.output import human_size, printable

    if checked is None:
        return ("?", "?")
    return (human_size(checked.size), printable(",".join(checked.platforms)) or "-")


def _tag(args: argparse.Namespace, app: App, images: Images, out: Output) -> None:
    from distore.cli.output import printable

    if len(args.image) < 2:
        raise InvalidArgument("images tag: want an image and its new names")
    source, *names = args.image
    for name in names:
        try:
            image = images.tag(source, name, force=args.force)
        except DistoreError as error:
            out.error(error)
        else:
            out.record(printable(image.name), **fields(image))


def _label(args: argparse.Namespace, app: App, images: Images, out: Output) -> None:
    from distore.cli.output import printable

    if not args.image:
        raise InvalidArgument("images label: want an image, and KEY=VALUE, or KEY= to remove a label")
    name, *pairs = args.image
    image = images.update(name, labels=dict(map(flags.label, pairs)))
    shown = " ".join(f"{printable(key)}={printable(value)}" for key, value in image.labels.items())
    out.record(f"{printable(image.name)} {shown}".rstrip(), **fields(image))


def _forget(args: argparse.Namespace, app: App, images: Images, out: Output) -> None:
    from distore.cli.output import printable

    if not args.image:
        raise InvalidArgument("images rm: want the names to forget; dist images lists them")
    removed = 0
    for text in flags.words(args.image):
        try:
            name = images.delete(text)
        except DistoreError as error:
            out.error(error)
        else:
            removed += 1
            out.record(printable(name), name=name)
    if args.sync and removed:
        app.collect()


def _mount(args: argparse.Namespace, app: App, out: Output) -> None:
    """As ``dist mount``."""
    from distore.cli.imagemounts import mount_image

    if len(args.image) != 2:
        raise InvalidArgument("images mount: want an image and a folder")
    if len(args.platform) > 1:
        raise InvalidArgument("images mount: want one --platform")
    args.platform, args.snapshotter, args.rw = next(iter(args.platform), None), None, False
    mount_image(args, app, out, text=args.image[0], target=args.image[1])


def _unmount(args: argparse.Namespace, app: App, out: Output) -> None:
    """As ``dist unmount``."""
    from distore.cli.commands import unmount

    if not args.image:
        raise InvalidArgument("images unmount: want the folders to unmount")
    args.folder = args.image
    unmount.run(args, app, out)
