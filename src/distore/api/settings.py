"""Settings of a Registry: what a program may say, and what the environment does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypedDict

from distore.remotes.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Path = str | os.PathLike[str]

DEFAULT_MIN_SPEED: Final = 1024  # bytes a second


class Settings(TypedDict, total=False):
    """Keywords of ``Registry``, which says what they mean."""

    hosts_dir: Path | None
    plain_http: bool
    ca: Path | None
    skip_verify: bool
    min_speed: int | None
    proxies: Mapping[str, str] | None
    auth_files: Iterable[Path]
    credentials: Mapping[str, tuple[str, str]] | None


def environment_settings(environ: Mapping[str, str], *, uid: int, home: str) -> Settings:
    """What ``dist`` takes from the environment.

    Args:
        uid: The user's number; names podman's folder where ``XDG_RUNTIME_DIR`` does not.
        home: The user's folder.
    """
    found = Environment.read(environ, uid=uid, home=home)
    return Settings(hosts_dir=found.hosts_dir, proxies=found.proxies, auth_files=found.auth_files)
