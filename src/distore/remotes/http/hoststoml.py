"""hosts.toml as it is written; hosts.py says what it means."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

from distore._internal.gotime import parse_duration
from distore.errors import InvalidArgument
from distore.remotes.http.address import split_url

MAX_SIZE: Final = 1024 * 1024  # bytes
_CAPABILITIES: Final = ("pull", "resolve", "push")
_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_OPTIONS: Final = frozenset(
    ("capabilities", "ca", "client", "skip_verify", "override_path", "header", "dial_timeout")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One server of the file. Empty ``scheme`` and ``netloc``: the registry itself."""

    scheme: str = ""
    netloc: str = ""
    path: str = ""
    capabilities: frozenset[str] | None = None
    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str | None], ...] = ()
    skip_verify: bool = False
    override_path: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    connect_timeout: float | None = None  # seconds


def load(path: str) -> tuple[Entry, tuple[Entry, ...]] | None:
    """The registry's own server, and the others in the order of the file; None without one, or
    when it is empty.

    Raises:
        InvalidArgument: Unreadable, too large, not TOML, or a wrong value; names file and key.
    """
    import tomllib

    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidArgument(f"{path}: {os.strerror(error.errno or 0).lower()}") from error
    if len(data) > MAX_SIZE:
        raise InvalidArgument(f"{path}: larger than {MAX_SIZE} bytes")
    if not data:
        return None  # containerd looks for certificates then, as if there were no file
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"{path}: not TOML: {' '.join(str(error).split())[:200].lower()}") from error
    return _entries(document, path)


def server(url: str) -> Entry:
    """A server without a file.

    Raises:
        InvalidArgument: The URL is none.
    """
    parts = split_url(url)
    if parts.query or parts.fragment:
        raise InvalidArgument(f"server {url[:80]!r}: leave out what follows the path")
    return Entry(scheme=parts.scheme, netloc=parts.netloc, path=parts.path)


def _entries(document: dict[str, object], path: str) -> tuple[Entry, tuple[Entry, ...]]:
    hosts = document.pop("host", {})
    address = document.pop("server", "")
    top = _Table(document, path, "")
    if not isinstance(address, str):
        raise top.wrong("server", "want a string")
    if not isinstance(hosts, dict):
        raise top.wrong("host", 'want tables such as [host."https://mirror.example"]')
    server = _entry(top, address, "server")
    mirrors = []
    for name, options in hosts.items():
        where = f'host."{name[:80]}"'
        if not isinstance(options, dict):
            raise top.wrong(where, "want a table")
        mirrors.append(_entry(_Table(options, path, where + "."), name, where))
    return server, tuple(mirrors)


def _entry(table: _Table, address: str, where: str) -> Entry:
    table.refuse_unknown()
    scheme = netloc = url_path = ""
    if address:
        try:
            parts = split_url(address if "://" in address else f"https://{address}")
        except InvalidArgument as error:
            raise InvalidArgument(f"{table.path}: {where}: {error}") from error
        scheme, netloc, url_path = parts.scheme, parts.netloc, parts.path
        if parts.query or parts.fragment:
            raise InvalidArgument(f"{table.path}: {where}: leave out what follows the path")
    return Entry(
        scheme=scheme,
        netloc=netloc,
        path=url_path,
        capabilities=table.capabilities(),
        ca=tuple(table.file("ca", name) for name in table.texts("ca")),
        client=table.client(),
        skip_verify=table.flag("skip_verify"),
        override_path=table.flag("override_path"),
        headers=table.headers(),
        connect_timeout=table.duration("dial_timeout"),
    )


class _Table:
    """Typed access to one table, with errors that name file and key."""

    def __init__(self, values: dict[str, object], path: str, prefix: str) -> None:
        self._values = values
        self._prefix = prefix
        self.path = path

    def wrong(self, key: str, why: str) -> InvalidArgument:
        return InvalidArgument(f"{self.path}: {self._prefix}{key}: {why}")

    def refuse_unknown(self) -> None:
        for key in self._values:
            if key not in _OPTIONS:
                raise self.wrong(key[:80], f"unknown; known are {', '.join(sorted(_OPTIONS))}")

    def flag(self, key: str) -> bool:
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "want true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """One string or a list of them."""
        value = self._values.get(key, [])
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(text, str) and text for text in values):
            raise self.wrong(key, "want a string or a list of strings")
        return tuple(values)

    def duration(self, key: str) -> float | None:
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(key, 'want a duration such as "10s"')
        try:
            return parse_duration(value)
        except InvalidArgument as error:
            raise self.wrong(key, str(error)) from error

    def capabilities(self) -> frozenset[str] | None:
        names = [name.lower() for name in self.texts("capabilities")]
        for name in names:
            if name not in _CAPABILITIES:
                raise self.wrong(
                    "capabilities", f"unknown {name[:40]!r}; known are {', '.join(_CAPABILITIES)}"
                )
        return frozenset(names) or None  # an empty list means all, as in containerd

    def file(self, key: str, name: str) -> str:
        """A path relative to the file's folder; it must be there."""
        path = os.path.join(os.path.dirname(self.path), name)
        if not os.path.isfile(path):
            raise self.wrong(key, f"no file {path}")
        return path

    def client(self) -> tuple[tuple[str, str | None], ...]:
        """``"pem"``, ``["pem", ...]`` or ``[["cert", "key"], ...]``."""
        value = self._values.get("client", [])
        pairs: list[tuple[str, str | None]] = []
        for item in [value] if isinstance(value, str) else value if isinstance(value, list) else [None]:
            match item:
                case str(pem) if pem:
                    pairs.append((self.file("client", pem), None))
                case [str(certificate), str(key)] if certificate:
                    pairs.append(
                        (self.file("client", certificate), self.file("client", key) if key else None)
                    )
                case _:
                    raise self.wrong("client", 'want "file.pem" or [["cert.pem", "key.pem"]]')
        return tuple(pairs)

    def headers(self) -> tuple[tuple[str, str], ...]:
        value = self._values.get("header", {})
        if not isinstance(value, dict):
            raise self.wrong("header", 'want a table such as x-custom = "value"')
        table = _Table(value, self.path, self._prefix + "header.")
        found = []
        for name in value:
            if not name or not _TOKEN.issuperset(name):
                raise table.wrong(ascii(name[:40]), "not the name of a header")
            for text in table.texts(name):
                if not text.isascii() or not text.isprintable():
                    raise table.wrong(name, "the value has a character that no header may have")
                found.append((name, text))
        return tuple(found)
