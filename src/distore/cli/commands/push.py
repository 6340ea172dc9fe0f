"""``dist push``: an image of the store to a registry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from distore.cli import flags

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "send an image of the store to a registry"
EXAMPLES: Final = (
    "dist push registry.example/team/app:1",
    "dist push registry.example/team/app:1 docker.io/library/redis:8",
    "dist push --platform linux/arm64 registry.example/team/app:1-arm64 docker.io/library/redis:8",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", help="where to, such as registry.example/team/app:1")
    parser.add_argument(
        "image", nargs="?", help="what: an image of the store, or a digest (default: the one of that name)"
    )
    flags.add_selection(parser)
    flags.add_transfer(parser)
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.progress import show
    from distore.oci.reference import Reference
    from distore.transfer.endname import EndName, Kind

    reference = Reference.parse(args.reference)
    image = flags.image(args.image) if args.image else reference
    events = app.copier.copy(
        EndName(kind=Kind.STORE, reference=image),
        EndName(kind=Kind.REGISTRY, reference=reference),
        flags.copy_options(args, every_platform=True),
    )
    finished = show(events, out, quiet=args.quiet, clock=time.monotonic)
    if finished is not None and not out.as_json:
        out.line(finished.descriptor.digest)
