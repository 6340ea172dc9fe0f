"""``dist login``: check credentials for a registry and keep them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.cli.output import printable
from distore.errors import InvalidArgument

if TYPE_CHECKING:
    import argparse

    from distore.app import App
    from distore.cli.output import Output

SUMMARY: Final = "check credentials for a registry and keep them"
EXAMPLES: Final = (
    "dist login quay.io",
    "dist login -u bob --password-stdin registry.example.com:5000 < password.txt",
)
MAX_PASSWORD: Final = 32 * 1024  # bytes
_DEFAULT_HOST: Final = "docker.io"

config = flags.registry_config


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "host",
        nargs="?",
        default=_DEFAULT_HOST,
        help=f"HOST[:PORT] of a registry, or with a namespace (default: {_DEFAULT_HOST})",
    )
    parser.add_argument("-u", "--username", metavar="USER", help="asked for on a terminal unless given")
    parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    flags.add_registry(parser)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from distore.remotes.credentials import Credential
    from distore.remotes.logins import keep, parse_server

    server = parse_server(args.host)
    username = _username(args)
    given = Credential(username=username, secret=_password(args))
    verified = app.verify(server, given)
    login = keep(server, verified.credential, flags.auth_files(args.authfile))
    if not verified.asked:
        out.note(f"dist: {server} asks nobody for credentials; these are kept unchecked")
    where = f"docker-credential-{login.helper}" if login.helper else f"{printable(login.file)}, unencrypted"
    out.record(
        f"logged in to {server} as {printable(username)}; kept in {where}",
        host=server,
        user=username,
        file=login.file,
        helper=login.helper,
        verified=verified.asked,
    )


def _username(args: argparse.Namespace) -> str:
    username = args.username
    if username is None:
        if args.password_stdin or not _is_terminal():
            raise InvalidArgument("login: want a user name; give it with -u USER")
        sys.stderr.write("User name: ")
        sys.stderr.flush()
        username = sys.stdin.readline().strip()
    if not username or ":" in username or not username.isprintable():
        raise InvalidArgument("login: a user name has printable characters and no colon")
    return str(username)


def _password(args: argparse.Namespace) -> str:
    if args.password_stdin:
        data = flags.standard_input().read(MAX_PASSWORD + 1)
        password = _decoded(data)
    elif _is_terminal():
        from getpass import getpass

        data, password = b"", getpass("Password: ")
    else:
        raise InvalidArgument("login: standard input is no terminal; give the password with --password-stdin")
    if not password or len(data) > MAX_PASSWORD or not password.isprintable():
        raise InvalidArgument(f"login: want a password of one line, up to {MAX_PASSWORD} bytes of UTF-8")
    return password


def _decoded(data: bytes) -> str | None:
    """One line; None, and no error with the bytes in it, when it is not UTF-8."""
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return None


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None
