"""``dist push-object``: one blob of the store to a registry, as ctr has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.oci.digest import Digest

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "send one object of the store to a registry, as ctr does"
EXAMPLES: Final = (
    "dist push-object registry.example/team/app \\\n"
    "    sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa \\\n"
    "    application/vnd.oci.image.layer.v1.tar+gzip",
)

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("remote", help="a repository; with a tag for a manifest that gets it")
    parser.add_argument("digest", type=Digest, help="which object of the store")
    parser.add_argument("type", help="its media type")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.oci.descriptor import Descriptor
    from distore.oci.reference import Reference

    reference = Reference.parse(args.remote, default_tag=None)
    size = app.content.info(args.digest).size
    descriptor = Descriptor(media_type=args.type, digest=args.digest, size=size)
    pusher = app.resolver.pusher(reference)
    how = "pushed"
    if reference.tag:
        pusher.tag(descriptor, app.content)
    else:
        how = pusher.push(descriptor, app.content)
    out.record(args.digest, digest=args.digest, size=size, how=how)
