"""CacheSettings: which upstreams are kept copies of (table ``[cache]``)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci.reference import Reference
from distore.registry.names import is_repository

if TYPE_CHECKING:
    from distore.registry.table import Table

ANY: Final = "*"  # in the place of a host: whichever one is asked for
TAGS_FRESH: Final = 60.0  # seconds
NEGATIVE: Final = 30.0  # seconds
PATIENCE: Final = 5.0  # seconds
DOWNLOADS: Final = 16
_MAX_PASSWORD: Final = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """A registry that copies are kept of.

    Args:
        host: Its name as references have it, such as ``docker.io``, or ANY.
        prefix: Its repositories are those below this name here.
        server: URL that is asked in its place, or None: what hosts.toml says, or the host itself.
        username, password: What to log in with; None: what the credential files say.
        ca: PEM file to trust instead of the system's, or None.
        plain_http: HTTP, not HTTPS.
        skip_verify: Do not check its certificate.
        tags_fresh: Seconds that a tag is served without asking.
    """

    host: str
    prefix: str
    server: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None
    plain_http: bool = False
    skip_verify: bool = False
    tags_fresh: float = TAGS_FRESH

    @property
    def is_special(self) -> bool:
        """Whether it is reached in another way than other registries are."""
        return bool(self.server or self.username or self.ca or self.plain_http or self.skip_verify)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Nothing is copied, unless upstreams are named.

    Args:
        default: Host of the upstream that has what is asked for without a prefix and is not here.
        names: Hosts that clients call this registry itself by when they ask with ``ns``.
        negative: Seconds that is not asked for again what an upstream does not have, or refuses.
        patience: Seconds that an upstream is waited for while there is a known tag to serve.
        stale: Serve a tag as it was when the upstream does not answer.
        offline: Ask no upstream anything.
        push: Repositories below a prefix take pushes, too.
        budget: Bytes of copies to keep, or None for no limit.
        downloads: Blobs on their way from each upstream at once.
    """

    upstreams: tuple[UpstreamSettings, ...] = ()
    default: str | None = None
    names: tuple[str, ...] = ()
    negative: float = NEGATIVE
    patience: float = PATIENCE
    stale: bool = True
    offline: bool = False
    push: bool = False
    budget: int | None = None
    downloads: int = DOWNLOADS

    @classmethod
    def read(cls, table: Table) -> CacheSettings:
        """Of the table of a configuration file.

        Raises:
            InvalidArgument: As Table.
        """
        fresh = table.seconds("tags_fresh", TAGS_FRESH)
        upstreams = tuple(
            _upstream(part, TAGS_FRESH if fresh is None else fresh) for part in table.tables("upstream")
        )
        prefixes = [upstream.prefix for upstream in upstreams]
        if len(set(prefixes)) < len(prefixes):
            raise table.wrong("upstream", "two have the same prefix")
        default = table.text("default")
        if default is not None and default not in {upstream.host for upstream in upstreams}:
            raise table.wrong("default", "want the host of one of the upstreams")
        negative, patience = table.seconds("negative", NEGATIVE), table.seconds("patience", PATIENCE)
        read = cls(
            upstreams=upstreams,
            default=default,
            names=table.texts("names"),
            negative=NEGATIVE if negative is None else negative,
            patience=PATIENCE if patience is None else patience,
            stale=table.flag("stale", True),
            offline=table.flag("offline"),
            push=table.flag("push"),
            budget=table.size("budget"),
            downloads=table.number("downloads", DOWNLOADS, least=1, most=1000) or DOWNLOADS,
        )
        table.done()
        return read


def _upstream(table: Table, tags_fresh: float) -> UpstreamSettings:
    host = table.text("host")
    if host is None:
        raise table.wrong("host", "missing; want the name of a registry, such as docker.io")
    prefix = table.text("prefix")
    if host == ANY and prefix is not None:
        raise table.wrong("prefix", "any host is below its own name")
    if host != ANY:
        _check_host(table, host)
    prefix = prefix or prefix_of(host)
    if host != ANY and not is_repository(prefix):
        raise table.wrong("prefix", f"{prefix[:60]!a} is not the name of a repository")
    username, password = table.text("username"), _password(table)
    if (username is None) != (password is None):
        raise table.wrong("username", "want both username and password_file")
    own = table.seconds("tags_fresh", tags_fresh)
    read = UpstreamSettings(
        host=host,
        prefix=prefix,
        server=_server(table),
        username=username,
        password=password,
        ca=_there(table, "ca"),
        plain_http=table.flag("plain_http"),
        skip_verify=table.flag("skip_verify"),
        tags_fresh=tags_fresh if own is None else own,
    )
    if host == ANY and (read.server or read.username):
        raise table.wrong("host", "what is for any host has no server and no password of its own")
    table.done()
    return read


def prefix_of(host: str) -> str:
    """The name that the repositories of a host are below: a repository's name has no colon."""
    return host.lower().replace(":", "_")


def _check_host(table: Table, host: str) -> None:
    try:
        Reference(domain=host, path="library/any")
    except InvalidArgument as error:
        raise table.wrong("host", str(error)) from error


def _server(table: Table) -> str | None:
    server = table.text("server")
    if server is not None and not server.startswith(("http://", "https://")):
        raise table.wrong("server", "want http(s)://HOST")
    return server


def _there(table: Table, key: str) -> str | None:
    path = table.path(key)
    if path is not None and not os.path.isfile(path):
        raise table.wrong(key, f"no file {path}")
    return path


def _password(table: Table) -> str | None:
    """The first line of the file."""
    path = _there(table, "password_file")
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_PASSWORD).decode().partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise table.wrong("password_file", f"{path} cannot be read") from error
    if not text:
        raise table.wrong("password_file", f"{path} is empty")
    return text
