"""``dist tags``: the tags of a repository."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from distore.cli import flags

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "list the tags of a repository"
EXAMPLES: Final = ("dist tags redis", "dist tags --match '8.*' docker.io/library/redis")

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", help="such as docker.io/library/redis")
    parser.add_argument(
        "--match", action="append", default=[], metavar="PATTERN", help="only tags that match"
    )
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.output import printable
    from distore.oci.reference import Reference

    for tag in app.resolver.repository(Reference.parse_name(args.repository)).tags():
        if not args.match or any(fnmatchcase(tag, pattern) for pattern in args.match):
            out.record(printable(tag), tag=tag)
