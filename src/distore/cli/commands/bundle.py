"""``dist bundle``: an image as a folder that an OCI runtime runs."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from distore.cli import flags, runflags, unpacked
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from distore._internal.userns import Maps
    from distore.app import App
    from distore.bundle.roots import RootFiles
    from distore.cli.output import Output
    from distore.diff.entry import ApplyOptions
    from distore.metadata.db import Metadata
    from distore.transfer.progress import Event
    from distore.unpack.layers import ImageLayers

SUMMARY: Final = "make a folder of an image that runc, crun and other OCI runtimes run"
EXAMPLES: Final = (
    "dist bundle alpine ./box; runc run --bundle ./box box",
    "dist bundle --rootless --cmd 'sleep 60' --env LEVEL=debug alpine ./box",
    "dist bundle --rootfs copy --uid-map 0:100000:65536 --gid-map 0:100000:65536 alpine ./box",
    "dist bundle --remove ./box",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes config.json, as containerd would fill it, beside the files of the image in rootfs: mounted,"
        " so that only what is written there takes room, or copied. Without root they are copied, and the"
        " config has a user namespace in which you are root."
    )
    parser.add_argument(
        "words", nargs="+", metavar="IMAGE DIR", help="the folder is made, or is there and empty"
    )
    parser.add_argument(
        "--remove",
        action="store_true",
        help="instead: unmount and remove bundles, with all that was written to them",
    )
    parser.add_argument("--cmd", type=runflags.words, metavar="WORDS", help="instead of the image's command")
    parser.add_argument("--tty", action="store_true", help="the runtime is to give it a terminal")
    runflags.add_spec(parser)
    parser.add_argument(
        "--rootfs", choices=("mount", "copy"), help="(default: mount as root, copy for others and with maps)"
    )
    for what in ("uid", "gid"):
        parser.add_argument(
            f"--{what}-map",
            action="append",
            default=[],
            metavar="ID:HOST:COUNT",
            help=f"a user namespace: {what}s of the container from ID on are those from HOST on",
        )
    unpacked.add_flags(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    if args.remove:
        _remove(args.words, app, out)
        return
    if len(args.words) != 2:
        raise InvalidArgument("bundle: want an image and a folder, or --remove and folders")
    text, folder = args.words
    maps, is_rootless = _maps(args)
    kind = args.rootfs or ("copy" if maps is not None else "mount")
    if kind == "mount":
        runflags.check_root("bundle --rootfs mount")
        if maps is not None:
            raise InvalidArgument("bundle: with a user namespace the files have other owners; --rootfs copy")
    token = os.urandom(6).hex()
    options = runflags.spec_options(
        args,
        command=args.cmd,
        terminal=args.tty,
        is_rootless=is_rootless,
        maps=maps,
        new_userns=maps is not None,
        cgroups_path=f"/{app.config.namespace}/bundle-{token}",
    )
    if is_rootless and maps is not None and maps.groups:
        runflags.enter_namespace()  # where the files can have their owners

    from distore.bundle.bundle import write_bundle

    with app.working("bundle") as metadata:
        if kind == "mount":
            image, root = _mounted(args, app, metadata, out, token)
        else:
            owners = _owners(maps, is_rootless=is_rootless)
            image, root = _copied(args, metadata, out, owners, None if is_rootless else _root_of(maps))
        write_bundle(folder, runflags.bundled(text, image), options, root)
    from distore.cli.output import printable

    real = os.path.realpath(folder)
    out.record(
        printable(real),
        bundle=real,
        image=text,
        manifest=image.manifest.digest,
        chain_id=image.chain_id,
        rootfs=kind,
        snapshot=root.notes().get("key"),
    )


def _maps(args: argparse.Namespace) -> tuple[Maps | None, bool]:
    """The ids of the container's namespace, and whether it is for somebody who is not root."""
    given = bool(args.uid_map or args.gid_map)
    if given and not (args.uid_map and args.gid_map):
        raise InvalidArgument("--uid-map and --gid-map: want both")
    is_rootless = args.rootless or not runflags.is_root()
    if given:
        from distore._internal.userns import Maps

        uids, gids = (runflags.id_maps(texts) for texts in (args.uid_map, args.gid_map))
        if is_rootless:
            runflags.check_root("bundle: maps of ids")
            raise InvalidArgument("--rootless and maps of ids: want one of them")
        return Maps(uids=uids, gids=gids, groups=True), False
    return (runflags.outer_maps(), True) if is_rootless else (None, False)


def _owners(maps: Maps | None, *, is_rootless: bool) -> ApplyOptions:
    """Whose the files are, so that they are right within the namespace."""
    from dataclasses import replace

    from distore.unpack.rights import own_options

    options = own_options()
    if maps is None:
        return options
    if is_rootless:
        return options if maps.groups else replace(options, as_root=False)
    from distore.diff.idmap import IdMap

    uids, gids = (
        IdMap.parse(*(f"{one.container}:{one.host}:{one.size}" for one in each))
        for each in (maps.uids, maps.gids)
    )
    return replace(options, uid_map=uids, gid_map=gids)


def _root_of(maps: Maps | None) -> tuple[int, int] | None:
    """Who is root and its group in there, as the machine numbers them."""
    if maps is None:
        return None
    found = []
    for kind, known in (("uid", maps.uids), ("gid", maps.gids)):
        host = next((one.host for one in known if one.container == 0), None)
        if host is None:
            raise InvalidArgument(f"--{kind}-map: nothing is 0 in the container, whose root needs to be")
        found.append(host)
    return found[0], found[1]


def _mounted(
    args: argparse.Namespace, app: App, metadata: Metadata, out: Output, token: str
) -> tuple[ImageLayers, RootFiles]:
    from distore.bundle.roots import KEY_PREFIX, MountedRoot

    done = unpacked.unpacked(app, metadata, args.words[0], args, out, quiet=args.quiet or out.as_json)
    root = MountedRoot(snapshotter=done.snapshotter, key=f"{KEY_PREFIX}{token}", parent=done.image.chain_id)
    return done.image, root


def _copied(
    args: argparse.Namespace,
    metadata: Metadata,
    out: Output,
    options: ApplyOptions,
    owner: tuple[int, int] | None,
) -> tuple[ImageLayers, RootFiles]:
    from distore.bundle.roots import CopiedRoot
    from distore.cli.progress import show
    from distore.transfer.copy import root_of
    from distore.transfer.unpack import rootfs
    from distore.unpack.layers import image_layers

    text = args.words[0]
    root = root_of(metadata.images, metadata.content, flags.image(text))
    platform = unpacked.platform(args.platform)
    chosen = args.platform is not None
    image = image_layers(metadata.content, root, platform, subject=f"image {text}", chosen=chosen)

    def write(folder: str) -> None:
        def events() -> Generator[Event, None, None]:
            yield from rootfs(metadata.content, root, platform, folder, options, name=text)

        show(events(), out, quiet=args.quiet or out.as_json, clock=time.monotonic)

    return image, CopiedRoot(write=write, owner=owner)


def _remove(folders: list[str], app: App, out: Output) -> None:
    from distore.bundle.bundle import remove_bundle
    from distore.cli.output import printable
    from distore.errors import DistoreError

    if not runflags.is_root() and runflags.outer_maps().groups:
        runflags.enter_namespace()  # files of its other ids are in there
    for folder in folders:
        real = os.path.realpath(folder)
        try:
            was_snapshot = remove_bundle(folder, app.metadata.snapshotter)
        except DistoreError as error:
            if len(folders) == 1:
                raise
            out.error(error)
            continue
        out.record(printable(real), bundle=real, removed=True, snapshot=was_snapshot)
