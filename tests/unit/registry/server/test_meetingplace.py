"""MeetingPlace: private, short, and not left behind for good."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from distore.errors import InvalidArgument
from distore.registry.server.meetingplace import make


@pytest.fixture
def parent() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


def test_it_is_private_and_ends_with_its_server(parent: Path) -> None:
    place = make(str(parent), uid=os.getuid())

    assert Path(place.folder).stat().st_mode & 0o777 == 0o700
    place.remove()
    assert list(parent.iterdir()) == []


def test_one_that_was_left_behind_is_removed_and_one_in_use_is_not(parent: Path) -> None:
    used = make(str(parent), uid=os.getuid())
    left = parent / "dist-serve-left"
    left.mkdir()
    (left / "1.sock").write_text("")
    (parent / "dist-serve-link").symlink_to(used.folder)
    (parent / "another").mkdir()

    place = make(str(parent), uid=os.getuid())

    assert {each.name for each in parent.iterdir()} == {
        Path(used.folder).name,
        Path(place.folder).name,
        "dist-serve-link",
        "another",
    }
    used.remove()
    place.remove()


def test_one_of_somebody_else_is_left_alone(parent: Path) -> None:
    (parent / "dist-serve-theirs").mkdir()

    make(str(parent), uid=os.getuid() + 1).remove()

    assert [each.name for each in parent.iterdir()] == ["dist-serve-theirs"]


def test_a_folder_with_too_long_a_name_is_refused(parent: Path) -> None:
    long = parent / ("x" * 90)
    long.mkdir()

    with pytest.raises(InvalidArgument, match="TMPDIR"):
        make(str(long), uid=os.getuid())

    assert list(long.iterdir()) == []
