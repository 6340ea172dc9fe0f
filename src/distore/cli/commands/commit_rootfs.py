"""``dist commit-rootfs``: a new image of a root filesystem that was changed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from distore.cli import flags, unpacked
from distore.cli.imagewords import EPOCH, add_config, rfc3339, seconds_of
from distore.errors import AlreadyExists, InvalidArgument, NotFound

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.diff.compare import CompareOptions
    from distore.metadata.db import Metadata
    from distore.oci.reference import Reference
    from distore.transfer.commit_rootfs import CommitOptions, Committed
    from distore.transfer.mutate_config import ConfigChanges
    from distore.transfer.rootbase import Ground
    from distore.transfer.rootsource import RootSource

SUMMARY: Final = "make an image of a folder, a bundle or a snapshot that was changed"
EXAMPLES: Final = (
    "dist commit-rootfs ./bundle redis:mine --message 'add modules'",
    "dist commit-rootfs ./rootfs app:2 --from app:1 --source-date-epoch 0",
    "dist commit-rootfs ./rootfs debian:mine --cmd bash   # one layer with everything",
    "dist commit-rootfs snapshot:work redis:mine --compression zstd --level 10",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "What differs from the image below becomes one more layer. A bundle and a snapshot know what that"
        " image is; for a folder --from names it, and without it the layer has the whole folder. Nothing may"
        " change meanwhile."
    )
    parser.add_argument(
        "source", help="a folder with a root filesystem, a bundle, or snapshot:KEY (active or committed)"
    )
    parser.add_argument("name", help="what the new image is called")
    parser.add_argument("--from", dest="base", metavar="IMAGE", help="the image that lies below")
    parser.add_argument("-f", "--force", action="store_true", help="take the name from another image")
    _add_layer(parser)
    _add_config(parser)
    unpacked.add_flags(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _add_layer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--message", help="why, for the history of the image")
    parser.add_argument(
        "--compression",
        choices=("gzip", "zstd", "none"),
        help="of the new layer (default: as the highest one below it, or gzip)",
    )
    parser.add_argument("--level", type=int, metavar="N", help="of the compression: gzip 1-9, zstd 1-19")
    parser.add_argument(
        "--source-date-epoch",
        metavar="TIME",
        help="when the image was made, RFC 3339 or seconds; files that changed later have this time"
        f" (default: ${EPOCH}; else now, and files keep theirs)",
    )
    parser.add_argument(
        "--checksum",
        action="store_true",
        help="read every file, also where time and size are those of the image below",
    )
    for what in ("uid", "gid"):
        parser.add_argument(
            f"--{what}-map",
            action="append",
            default=[],
            metavar="ID:HOST:COUNT",
            help=f"COUNT {what}s of the folder from HOST on are those of the image from ID on, as dist rootfs"
            " made them; may be given again",
        )


def _add_config(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("-a", "--author", help="'' removes it")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.oci.reference import Reference
    from distore.transfer.rootbase import commit_source
    from distore.transfer.rootsource import RootSource

    name = Reference.parse(args.name)
    if name.digest is not None:
        raise InvalidArgument(f"name {name}: the result has its own digest; leave it out")
    source = RootSource.parse(args.source)  # before anything is made for what is not there
    options = _options(args, out)
    if not args.force:
        _check_free(app, name)
    with app.working("commit-rootfs") as metadata:
        ground = _ground(args, app, out, metadata, source)
        root = metadata.content.root
        done = commit_source(metadata.content, source, ground, options, root=root)
        metadata.images.put(str(name), done.root)
    _tell(done, name, out)


def _check_free(app: App, name: Reference) -> None:
    try:
        app.images.get(str(name))
    except NotFound:
        return
    raise AlreadyExists(f"image {name}: exists already; --force gives it the new one", subject=str(name))


def _ground(
    args: argparse.Namespace, app: App, out: Output, metadata: Metadata, source: RootSource
) -> Ground:
    """The image that ``--from`` names, unpacked where its files are looked at, and what unpacks it."""
    from distore.transfer.copy import root_of
    from distore.transfer.rootbase import Ground
    from distore.unpack.layers import image_layers

    images, platform = metadata.images, unpacked.platform(args.platform)
    if source.folder is not None and args.base:
        done = unpacked.unpacked(app, metadata, args.base, args, out, quiet=args.quiet)
        return Ground(images=images, snapshotter=done.snapshotter, platform=platform, base=done.image)
    base = None
    if args.base:
        root = root_of(images, metadata.content, flags.image(args.base))
        chosen = args.platform is not None
        base = image_layers(metadata.content, root, platform, subject=f"image {args.base}", chosen=chosen)
    snapshotter = metadata.snapshotter(source.snapshotter or flags.snapshotter(args.snapshotter))
    return Ground(images=images, snapshotter=snapshotter, platform=platform, base=base)


def _tell(done: Committed, name: Reference, out: Output) -> None:
    if done.layer is None:
        out.note("dist: no file differs from those of the image below; nothing to make a layer of")
    out.record(
        done.root.digest,
        name=str(name),
        target=done.root.to_json(),
        layer=None if done.layer is None else done.layer.descriptor.to_json(),
        diff_id=None if done.layer is None else str(done.layer.diff_id),
        changes=done.changes,
    )


def _options(args: argparse.Namespace, out: Output) -> CommitOptions:
    from distore.transfer.commit_rootfs import LIKE_BASE, CommitOptions

    flag = "--source-date-epoch"
    told = args.source_date_epoch if args.source_date_epoch is not None else os.environ.get(EPOCH) or None
    epoch = None
    if told is not None:
        epoch = seconds_of(told, flag if args.source_date_epoch is not None else EPOCH)
    return CommitOptions(
        compare=_compare_options(args, out, epoch),
        created=rfc3339(int(time.time()) if epoch is None else epoch),
        config=_changes(args),
        message=args.message,
        compression=None if args.compression == "none" else args.compression or LIKE_BASE,
        level=args.level,
    )


def _compare_options(args: argparse.Namespace, out: Output, epoch: int | None) -> CompareOptions:
    from distore.diff.compare import CompareOptions
    from distore.diff.idmap import IdMap
    from distore.diff.ownership import as_roots, of_image, same_owner
    from distore.unpack.rights import own_options

    uids, gids = (IdMap.parse(",".join(texts)) if texts else None for texts in (args.uid_map, args.gid_map))
    # Where we are not root, what root has in an image belongs to us: below, too.
    own = same_owner if own_options().as_root else as_roots(os.geteuid(), os.getegid())
    owner = of_image(uids, gids) if uids or gids else own
    return CompareOptions(
        checksum=args.checksum,
        source_date_epoch=epoch,
        owner=owner,
        lower_owner=own,
        note=lambda text: out.note(f"dist: {text}"),
    )


def _changes(args: argparse.Namespace) -> ConfigChanges:
    from distore.transfer.mutate_config import ConfigChanges

    return ConfigChanges(
        env=(*((name, None) for name in args.unset_env), *args.env),
        labels=dict(args.label),
        entrypoint=args.entrypoint,
        cmd=args.cmd,
        user=args.user,
        workdir=args.workdir,
        author=args.author,
    )
