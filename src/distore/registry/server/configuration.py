"""Configuration: all settings of ``dist serve``, of a file and of what overrides it."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING, Final, NamedTuple

from distore.errors import InvalidArgument, NotFound
from distore.registry.server.settings import ServerSettings
from distore.registry.settings import ServeSettings
from distore.registry.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FILE: Final = 1024 * 1024  # bytes


class Configuration(NamedTuple):
    """How it is served, and what."""

    server: ServerSettings
    serve: ServeSettings


def read(path: str | None, overrides: Mapping[str, object]) -> Configuration:
    """Read a file (None: nothing but defaults).

    Args:
        overrides: Values by key, ``workers`` or ``tls.key``, that count instead of the file's.
    Raises:
        NotFound: There is no such file.
        InvalidArgument: It cannot be read, or something in it is wrong; names file, table and key.
    """
    values = {} if path is None else _parsed(path)
    where = "configuration" if path is None else path
    for key, value in overrides.items():
        _lay(values, key, value, where=where)
    table = Table(values, where=where, folder=os.path.dirname(os.path.abspath(path or "x")))
    serve = ServeSettings.read(table)
    return Configuration(ServerSettings.read(table), serve)


def _parsed(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except OSError as error:
        raise InvalidArgument(f"{path}: {os.strerror(error.errno or 0).lower()}") from error
    if len(data) > MAX_FILE:
        raise InvalidArgument(f"{path}: more than {MAX_FILE} bytes")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: {error}") from error


def _lay(values: dict[str, object], key: str, value: object, *, where: str) -> None:
    name, dot, rest = key.partition(".")
    if not dot:
        values[name] = value
        return
    within = values.setdefault(name, {})
    if not isinstance(within, dict):
        raise InvalidArgument(f"{where}: {name!a}: want a table")
    _lay(within, rest, value, where=where)
