"""A small file that is read again when it changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distore.errors import InvalidArgument, NotFound
from distore.registry.watched import Watched


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def number(data: bytes) -> int:
    try:
        return int(data)
    except ValueError as error:
        raise InvalidArgument(f"file: not a number: {len(data)}") from error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def file(tmp_path: Path, clock: Clock, lines: list[str]) -> Watched[int]:
    path = tmp_path / "file"
    path.write_text("1")
    return Watched(str(path), number, limit=10, now=clock, warn=lines.append)


def put(file: Watched[int], text: str) -> None:
    """As careful programs do."""
    Path(f"{file.path}.new").write_text(text)
    os.replace(f"{file.path}.new", file.path)


def test_a_changed_file_is_read_again_when_it_is_due(file: Watched[int], clock: Clock) -> None:
    put(file, "2")

    file.look()
    assert (file.value, file.due()) == (1, False)
    clock.now += 1
    assert file.due()
    file.look()
    assert (file.value, file.due()) == (2, False)


def test_a_file_that_is_written_in_place_is_read_again(file: Watched[int], clock: Clock) -> None:
    Path(file.path).write_text("33")

    clock.now += 1
    file.look()

    assert file.value == 33


@pytest.mark.parametrize("bad", ["x", "9" * 11, None])
def test_a_bad_file_changes_nothing_and_is_told_once(
    file: Watched[int], clock: Clock, lines: list[str], bad: str | None
) -> None:
    if bad is None:
        os.unlink(file.path)
    else:
        put(file, bad)

    for _ in range(3):
        clock.now += 1
        file.look()

    assert file.value == 1
    assert len(lines) == 1
    assert lines[0].endswith("; what it said before still holds")
    put(file, "4")
    clock.now += 1
    file.look()
    assert file.value == 4


def test_a_clock_that_goes_back_makes_it_due(file: Watched[int], clock: Clock) -> None:
    clock.now -= 100

    assert file.due()


def test_a_file_must_be_good_at_the_start(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(NotFound, match="none: no such file"):
        Watched(str(tmp_path / "none"), number, limit=10, now=clock, warn=print)
    with pytest.raises(InvalidArgument, match="is a directory"):
        Watched(str(tmp_path), number, limit=10, now=clock, warn=print)
    with pytest.raises(InvalidArgument, match="null byte"):
        Watched("a\0b", number, limit=10, now=clock, warn=print)
