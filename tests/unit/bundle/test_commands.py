"""Whether a container's program is there, looked for as the container would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distore.bundle.commands import check_command
from distore.errors import CommandNotExecutable, CommandNotFound, FailedPrecondition


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    for folder in ("bin", "usr/bin", "srv/tools"):
        (root / folder).mkdir(parents=True)
    for name in ("bin/real", "usr/bin/both", "srv/tools/own"):
        (root / name).write_text("")
        (root / name).chmod(0o755)
    (root / "bin" / "both").write_text("no program")
    (root / "bin" / "plain").write_text("no program")
    (root / "bin" / "linked").symlink_to("/bin/real")
    (root / "bin" / "dangling").symlink_to("/bin/sh")
    (root / "bin" / "circle").symlink_to("circle")
    (root / "sbin").symlink_to("bin")
    return root


def document(
    command: str, path: str | None = "PATH=/none:/bin/real:/bin:/usr/bin", *over: str
) -> dict[str, Any]:
    process = {"args": [command], "cwd": "/srv", "env": ["A=1"] if path is None else ["A=1", path]}
    return {"process": process, "mounts": [{"destination": one} for one in over]}


@pytest.mark.parametrize(
    "command",
    ["real", "/bin/real", "both", "linked", "/sbin/real", "tools/own", "./tools/own", "../bin/real"],
)
def test_a_program_is_found(rootfs: Path, command: str) -> None:
    check_command(document(command), str(rootfs), subject="image x")


@pytest.mark.parametrize("command", ["sh", "/bin/sh", "dangling", "own", "none/real", "real/x", "a" * 300])
def test_what_is_not_there_is_said(rootfs: Path, command: str) -> None:
    with pytest.raises(CommandNotFound, match=r"^image x: command '.*not found"):
        check_command(document(command), str(rootfs), subject="image x")


@pytest.mark.parametrize("command", ["plain", "/bin/plain", "/bin", "tools/"])
def test_what_is_no_program_is_said(rootfs: Path, command: str) -> None:
    with pytest.raises(CommandNotExecutable, match="nobody may run it"):
        check_command(document(command), str(rootfs), subject="image x")


def test_links_in_a_circle_end(rootfs: Path) -> None:
    with pytest.raises(FailedPrecondition, match="too many links"):
        check_command(document("circle"), str(rootfs), subject="image x")


@pytest.mark.parametrize("over", ["/none", "/usr", "/usr/bin", "/bin/missing/"])
def test_a_mount_may_bring_it(rootfs: Path, over: str) -> None:
    command = "x" if over == "/none" else "missing"

    check_command(document(command, "PATH=/none:/usr/bin:/bin", over), str(rootfs), subject="image x")


def test_without_a_path_the_systems_own_counts(rootfs: Path) -> None:
    check_command(document("real", None), str(rootfs), subject="image x")
    check_command(document("own", "PATH=tools"), str(rootfs), subject="image x")
