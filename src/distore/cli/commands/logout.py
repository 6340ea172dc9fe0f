"""``dist logout``: forget the credentials for a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.output import printable
from distore.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "forget the credentials for a registry"
EXAMPLES: Final = ("dist logout quay.io", "dist logout --all --authfile auth.json")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", nargs="?", help="HOST[:PORT] of a registry, or with a namespace")
    parser.add_argument("--all", action="store_true", help="forget those for every registry")
    parser.add_argument(
        "--authfile", metavar="FILE", help="only there (default: everywhere that credentials are looked for)"
    )


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.remotes.logins import forget, forget_all, parse_server

    if (args.host is None) != args.all:
        raise InvalidArgument("logout: want a host or --all, and not both")
    files = flags.auth_files(args.authfile)
    if args.all:
        gone = forget_all(files)
    else:
        server = parse_server(args.host)
        gone = forget(server, files)
        if not gone:
            raise NotFound(f"logout {server}: no credentials are kept for it in {', '.join(files)}")
    for login in gone:
        where = f"docker-credential-{login.helper}" if login.helper else printable(login.file)
        out.record(
            f"logged out of {printable(login.server)}; it was kept in {where}",
            host=login.server,
            file=login.file,
            helper=login.helper,
        )
