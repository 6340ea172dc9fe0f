"""``dist pull``: an image from a registry into the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from distore.cli import flags, unpacked

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.transfer.unpack import UnpackOptions

SUMMARY: Final = "bring an image from a registry into the store"
EXAMPLES: Final = (
    "dist pull redis",
    "dist pull --platform linux/arm64 --platform linux/amd64 docker.io/library/redis:8",
    "dist pull --all-platforms --limit-rate 10Mi registry.example/team/app@sha256:010c454d55e5...",
    "dist pull --unpack redis:8",
    "dist pull --json redis | jq -r 'select(.event == \"finished\").descriptor.digest'",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", nargs="+", help="an image, such as redis:8 or host:5000/app@sha256:...")
    flags.add_selection(parser)
    parser.add_argument(
        "--unpack",
        action="store_true",
        help="unpack into snapshots while layers arrive: the chosen platforms, or this machine's",
    )
    parser.add_argument(
        "--snapshotter", metavar="NAME", help="overlayfs or native, for --unpack (default: as dist unpack)"
    )
    unpacked.add_sync(parser)
    flags.add_transfer(parser)
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from dataclasses import replace

    from distore.cli.progress import show
    from distore.errors import DistoreError, InvalidArgument
    from distore.oci.reference import Reference
    from distore.transfer.endname import EndName, Kind

    options = flags.copy_options(args)
    if args.unpack:
        options = replace(options, unpack=_unpack_options(args))
    elif args.snapshotter or args.no_sync:
        flag = "--snapshotter" if args.snapshotter else "--no-sync"
        raise InvalidArgument(f"pull: {flag} goes with --unpack")
    for text in args.reference:
        try:
            reference = Reference.parse(text)
            source, store = (EndName(kind=kind, reference=reference) for kind in (Kind.REGISTRY, Kind.STORE))
            events = app.copier.copy(source, store, options)
            finished = show(events, out, quiet=args.quiet, clock=time.monotonic)
        except DistoreError as error:
            if len(args.reference) == 1:
                raise
            out.error(error)
            continue
        if finished is not None and not out.as_json:
            out.line(finished.descriptor.digest)


def _unpack_options(args: argparse.Namespace) -> UnpackOptions:
    from distore.api.transfers import this_platform
    from distore.transfer.unpack import UnpackOptions

    return UnpackOptions(
        platforms=flags.chosen_platforms(args) or (this_platform(),),
        chosen=bool(args.platform),
        snapshotter=flags.snapshotter(args.snapshotter),
        sync=not args.no_sync,
    )
