"""``dist copy``: an image from one end to another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from distore.cli import flags

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "copy an image between registries, the store, layouts and archives"
EXAMPLES: Final = (
    "dist copy docker.io/library/redis:8 registry.example/mirror/redis:8",
    "dist copy --platform linux/arm64 redis oci:redis-layout:8",
    "dist copy redis docker-archive:redis.tar",
    "dist copy oci-archive:app.tar store:app:1",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    forms = "REF or docker://REF, store:REF, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF]"
    parser.add_argument("source", help=forms)
    parser.add_argument("destination", help="the same forms")
    parser.add_argument("--force", action="store_true", help="replace an archive that is there")
    flags.add_selection(parser, default="all of them; a docker-archive holds this machine's")
    flags.add_transfer(parser)
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.progress import show
    from distore.transfer.endname import EndName, Kind

    source, destination = EndName.parse(args.source), EndName.parse(args.destination)
    options = flags.copy_options(args, every_platform=destination.kind is not Kind.DOCKER_ARCHIVE)
    events = app.copier.copy(source, destination, options)
    finished = show(events, out, quiet=args.quiet, clock=time.monotonic)
    if finished is not None and not out.as_json:
        out.line(finished.descriptor.digest)
