"""``dist catalog``: the repositories of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "list the repositories of a registry that tells"
EXAMPLES: Final = ("dist catalog registry.example", "dist catalog localhost:5000 | xargs -n1 dist tags")

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("registry", help="a host, such as registry.example:5000")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.cli.output import printable
    from distore.oci.reference import Reference

    try:
        Reference(domain=args.registry, path="catalog")
    except InvalidArgument as error:
        raise InvalidArgument(
            f"registry {args.registry[:80]!r}: want HOST[:PORT] and nothing else"
        ) from error
    for repository in app.resolver.catalog(args.registry):
        out.record(printable(repository), repository=repository)
