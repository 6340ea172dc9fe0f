"""``dist images``: the names in the store."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from distore.oci.descriptor import Descriptor
from distore.testing.server import FakeRegistry

pytestmark = pytest.mark.slow
Dist = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def root(dist: Dist, registry: FakeRegistry) -> Descriptor:
    """An image that the store has under two names."""
    found = registry.image("team/app", "1", [b"layer"])
    dist("copy", "-q", f"{registry.address}/team/app:1", "store:app:1")
    dist("copy", "-q", "store:app:1", "store:r.example/app:2")
    return found


def test_names_are_listed_with_their_digests(dist: Dist, root: Descriptor) -> None:
    head, first, second = dist("images").stdout.decode().splitlines()

    assert re.fullmatch(r"IMAGE +DIGEST +AGE", head)
    assert re.fullmatch(rf"docker\.io/library/app:1 +{root.digest}  (now|\d+ seconds?)", first)
    assert second.split()[:2] == ["r.example/app:2", root.digest]
    assert dist("images", "-q").stdout == b"docker.io/library/app:1\nr.example/app:2\n"


def test_json_has_the_whole_descriptor(dist: Dist, root: Descriptor) -> None:
    first, _ = map(json.loads, dist("images", "--json").stdout.splitlines())

    assert first["name"] == "docker.io/library/app:1"
    assert first["target"] == root.to_json()
    assert first["created"] <= first["updated"]


def test_a_name_is_forgotten_and_the_content_stays(dist: Dist, root: Descriptor) -> None:
    done = dist("images", "rm", "app:1")

    assert done.stdout == b"docker.io/library/app:1\n"
    assert dist("images", "-q").stdout == b"r.example/app:2\n"
    assert dist("get", root.digest).returncode == 0


def test_a_name_that_is_not_there_stops_no_other(dist: Dist, root: Descriptor) -> None:
    done = dist("images", "rm", "none", "Bad", "app:1")

    assert done.returncode == 11
    assert done.stdout == b"docker.io/library/app:1\n"
    assert [line.split(":")[1] for line in done.stderr.decode().splitlines()] == [
        " image docker.io/library/none",
        " reference 'Bad'",
    ]


def test_names_come_from_standard_input(dist: Dist, root: Descriptor) -> None:
    dist("images", "rm", "-", input=dist("images", "-q").stdout)

    assert dist("images", "-q").stdout == b""


@pytest.mark.parametrize(
    ("words", "part"),
    [(["rm"], "want the names"), (["ls", "x"], "takes no names"), (["list"], "invalid choice")],
)
def test_wrong_words_are_one_line(dist: Dist, words: list[str], part: str) -> None:
    done = dist("images", *words)

    assert done.returncode == 2
    assert part in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_store_that_is_not_there_has_none_and_is_not_made(dist: Dist, tmp_path: Path) -> None:
    listed, removed = dist("images", "--root", "none"), dist("images", "rm", "app", "--root", "none")

    assert listed.returncode == 0
    assert listed.stderr.decode() == f"dist: no store at {tmp_path / 'none'} yet\n"
    assert removed.returncode == 11
    assert list(tmp_path.iterdir()) == []
