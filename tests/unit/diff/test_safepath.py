"""Root: real paths, links followed inside, removal without recursion."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from distore.diff.safepath import Root
from distore.errors import FailedPrecondition, ResourceExhausted


@pytest.fixture(params=[True, False], ids=["openat2", "part by part"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Root]:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "usr" / "bin").mkdir(parents=True)
    with Root(str(tmp_path / "root"), in_one_step=request.param) as found:
        yield found


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_a_real_path_is_opened(root: Root, inside: Path) -> None:
    fd = root.open(b"usr/bin")

    try:
        assert os.path.samestat(os.fstat(fd), (inside / "usr/bin").stat())
    finally:
        os.close(fd)


@pytest.mark.parametrize("target", ["usr", "../outside", "/", "."])
def test_a_link_is_never_opened(root: Root, inside: Path, target: str) -> None:
    (inside / "l").symlink_to(target)

    for path in (b"l", b"l/bin", b"usr/../l"):
        with pytest.raises(OSError, match=r"links|Not a directory"):
            os.close(root.open(path))


@pytest.mark.parametrize(
    ("target", "path", "result"),
    [
        ("usr/bin", b"l", b"usr/bin"),
        ("/usr", b"l/bin", b"usr/bin"),
        ("../../../usr", b"l/bin", b"usr/bin"),
        ("usr/bin/..", b"l", b"usr"),
        ("/", b"l/usr", b"usr"),
        ("usr/none", b"l", None),
        ("../outside", b"l", None),
    ],
)
def test_links_are_followed_as_if_the_folder_were_the_root(
    root: Root, inside: Path, target: str, path: bytes, result: bytes | None
) -> None:
    (inside / "l").symlink_to(target)

    assert root.real(path, make=None) == result


def test_what_is_missing_on_the_way_is_made_inside(root: Root, inside: Path) -> None:
    (inside / "l").symlink_to("../outside/deep")
    made: list[bytes] = []

    def make(path: bytes) -> None:
        made.append(path)
        (inside / os.fsdecode(path)).mkdir()

    assert root.real(b"l/x", make=make) == b"outside/deep/x"
    assert made == [b"outside", b"outside/deep", b"outside/deep/x"]
    assert [*(inside.parent / "outside").iterdir()] == []


def test_links_without_an_end_are_refused(root: Root, inside: Path) -> None:
    (inside / "a").symlink_to("b")
    (inside / "b").symlink_to("a")
    (inside / "wide").symlink_to("./" * 2000 + "wide2")
    (inside / "wide2").symlink_to("./" * 2000 + "wide")

    for path in (b"a", b"wide"):
        with pytest.raises(FailedPrecondition, match="too many links on the way"):
            root.real(path, make=None)


def test_a_path_longer_than_the_system_opens_is_refused(root: Root) -> None:
    with pytest.raises(ResourceExhausted, match="a path of over 4095 bytes"):
        root.open(b"d/" * 2100)


def test_more_folders_are_used_than_are_kept_open(root: Root, inside: Path) -> None:
    for number in range(200):
        (inside / str(number)).mkdir()
    before = len(os.listdir("/proc/self/fd"))

    for number in range(200):
        assert root.kind(b"%d/x" % number) is None

    assert len(os.listdir("/proc/self/fd")) <= before + 48


def test_removal_spares_what_links_point_to(root: Root, inside: Path) -> None:
    (inside.parent / "outside" / "kept").write_text("")
    (inside / "usr" / "l").symlink_to("../../outside")

    assert root.remove(b"usr") == [b"usr", b"usr/bin"]
    assert root.remove(b"usr") == []
    assert (inside.parent / "outside" / "kept").exists()
    assert [*inside.iterdir()] == []


def test_what_is_looked_at_is_counted_from_the_folder_above(root: Root) -> None:
    seen: list[int] = []

    root.real(b"usr/bin", make=None, spend=seen.append)
    root.real(b"usr/bin/new", make=None, spend=seen.append)

    assert seen == [len(b"usr/bin/new")]
