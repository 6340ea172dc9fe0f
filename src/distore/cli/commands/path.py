"""``dist path``: where blobs lie in the file system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli.flags import each_digest

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output
    from distore.oci.digest import Digest

SUMMARY: Final = "print where blobs lie in the file system"
EXAMPLES: Final = (
    "dist path sha256:010c454d55e53059beaba4044116ea4636f8dd8181e975d893931c7e7204fffa",
    "dist list -q | dist path -q - | xargs ls -l",
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("digest", nargs="+", help="a digest; - reads them from standard input, one a line")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the path")


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    def show(digest: Digest) -> None:
        path = app.content.path(digest)
        out.record(path if args.quiet else f"{digest} {path}", digest=digest, path=path)

    each_digest(args.digest, out, show)
