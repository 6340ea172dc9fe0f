"""User namespaces: the ids of a user, and being root of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distore._internal import userns
from distore._internal.userns import IdMap, holds, maps_here, overlap, own_maps


def id_map(container: int, host: int, size: int) -> IdMap:
    return IdMap(container=container, host=host, size=size)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for /etc/subuid and /etc/subgid."""
    path = tmp_path / "subid"
    real = userns._ranges
    monkeypatch.setattr(userns, "_ranges", lambda _path, names: real(str(path), names))
    monkeypatch.setattr(userns, "_tools", lambda: True)
    return path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("app:100000:65536\n", [(100_000, 65_536)]),
        ("1000:5:6\n", [(5, 6)]),
        ("app:1:2\nother:3:4\napp:5:6", [(1, 2), (5, 6)]),
        ("app:x:1\napp:1\napp::\n:1:2\napp:1:0\n\n#app:1:2", []),
        ("", []),
    ],
)
def test_ranges_are_those_of_the_user(files: Path, text: str, found: list[tuple[int, int]]) -> None:
    files.write_text(text)

    maps = own_maps(uid=1000, gid=1001, name="app")

    assert (maps.uids[0], maps.gids[0]) == (id_map(0, 1000, 1), id_map(0, 1001, 1))
    assert [(one.host, one.size) for one in maps.uids[1:]] == found
    assert maps.groups is bool(found)
    at = 1
    for one in maps.uids[1:]:
        assert one.container == at
        at += one.size


@pytest.mark.parametrize(("text", "name"), [(None, "app"), ("app:100000:65536\n1000:1:9\n", None)])
def test_without_the_file_or_a_name_there_is_one_id(files: Path, text: str | None, name: str | None) -> None:
    if text is not None:
        files.write_text(text)

    maps = own_maps(uid=1000, gid=1000, name=name)

    assert maps.uids == (id_map(0, 1000, 1),)
    assert not maps.groups


def test_without_the_tools_there_is_one_id(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_text("app:100000:65536\n")
    monkeypatch.setattr(userns, "_tools", lambda: False)

    assert len(own_maps(uid=1000, gid=1000, name="app").uids) == 1


@pytest.mark.parametrize(
    ("maps", "is_double"),
    [
        ([], False),
        ([(0, 0, 1), (1, 1, 1)], False),
        ([(0, 10, 5), (5, 0, 10)], False),
        ([(0, 10, 5), (4, 20, 5)], True),
        ([(0, 10, 5), (5, 14, 5)], True),
    ],
)
def test_an_id_is_in_one_map(maps: list[tuple[int, int, int]], is_double: bool) -> None:
    assert overlap([id_map(*one) for one in maps]) is is_double


def test_ids_are_held_up_to_the_end_of_a_map() -> None:
    maps = [id_map(0, 5, 1), id_map(10, 6, 5)]

    assert [number for number in range(20) if holds(maps, number)] == [0, 10, 11, 12, 13, 14]


def test_this_process_has_maps() -> None:
    assert holds(maps_here().uids, os.geteuid())


@pytest.mark.slow
def test_an_ordinary_user_becomes_root_in_there() -> None:
    script = (
        "import os; from distore._internal.userns import *; from distore.mount import *\n"
        "enter(own_maps(uid=os.geteuid(), gid=os.getegid(), name=None, may_range=False))\n"
        "mount(Mount(type='tmpfs', source='test-userns', target='/mnt'))\n"
        "print(os.geteuid(), os.getegid(), may_mount(), in_first(), maps_here().groups, os.getgroups())"
    )
    command = [sys.executable, "-I", "-c", script]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    if "lets only root" in done.stderr:
        pytest.skip("users may not make namespaces here")
    assert done.stdout == "0 0 True False False []\n", done.stderr
    assert "test-userns" not in Path("/proc/mounts").read_text()
