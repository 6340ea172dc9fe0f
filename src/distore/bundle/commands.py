"""Whether the command of a container is there, before a runtime says it its own way."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Final

from distore._internal.oserrors import translated
from distore.bundle.rootfile import is_program, opened, search
from distore.errors import CommandNotExecutable, CommandNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN: Final = 80


def check_command(document: Mapping[str, object], rootfs: str, *, subject: str) -> None:
    """Look for the program of a config in its root. Where a mount could bring it nothing is said.

    Args:
        document: One that ``validate`` has seen.
    Raises:
        CommandNotFound, CommandNotExecutable: It is not there, or nobody may run it.
    """
    process, mounts = document["process"], document.get("mounts", [])
    assert isinstance(process, dict)
    assert isinstance(mounts, list)
    command = process["args"][0]
    folders = _folders(command, process)
    over = [mount["destination"].rstrip("/") for mount in mounts]
    paths = [posixpath.normpath(f"{folder}/{command}") for folder in folders]
    if any(f"{path}/".startswith(f"{each}/") for path in paths for each in over):
        return
    with translated(f"{subject}: command {command[:_SHOWN]!a}"), opened(rootfs) as root:
        found = search(root, command, folders)
    if found is None:
        where = "" if "/" in command else " in $PATH"
        raise CommandNotFound(f"{subject}: command {command[:_SHOWN]!a}: not found{where} in the image")
    if not is_program(found[1]):
        raise CommandNotExecutable(f"{subject}: command {command[:_SHOWN]!a}: nobody may run it")


def _folders(command: str, process: Mapping[str, object]) -> list[str]:
    """Where it is looked for; from the working folder when it has a slash in it."""
    if posixpath.isabs(command):
        return [""]
    if "/" in command:
        return [str(process["cwd"])]
    env = process.get("env", [])
    assert isinstance(env, list)
    paths = [text[5:] for text in env if text.startswith("PATH=")]
    found = (paths or [os.defpath])[-1].split(":")
    return [posixpath.join(str(process["cwd"]), folder) for folder in found]
