"""``dist label``: show, set or remove labels of a blob."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.commands.list import fields
from distore.cli.output import printable

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.digest import Digest

SUMMARY: Final = "show, set or remove labels of a blob"
EXAMPLES: Final = (
    "dist label sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa app=web tier=front",
    "dist label sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa tier=",
    "dist list -q | dist label - checked=yes",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("digest", help="a digest; - reads them from standard input, one a line")
    parser.add_argument("label", nargs="*", type=flags.label, metavar="KEY=VALUE", help="KEY= removes it")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    changes = dict(args.label)

    def apply(digest: Digest) -> None:
        info = app.content.info(digest)
        if changes:
            paths = (f"labels.{key}" for key in changes)
            info = app.content.update(info._replace(labels={**info.labels, **changes}), *paths)
        shown = " ".join(f"{printable(key)}={printable(value)}" for key, value in info.labels.items())
        out.record(f"{digest} {shown}".rstrip(), **fields(info))

    flags.each_digest([args.digest], out, apply)
