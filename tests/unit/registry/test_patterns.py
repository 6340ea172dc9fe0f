"""Patterns of repositories and tags."""

from __future__ import annotations

import time

import pytest

from distore.errors import InvalidArgument
from distore.registry.patterns import Patterns, matches


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("team/app", "team/app"),
        ("team/*", "team/app"),
        ("team/**", "team/app"),
        ("team/**", "team/a/b/c"),
        ("team/**", "team"),
        ("**", "anything/at/all"),
        ("**/app", "app"),
        ("**/app", "a/b/app"),
        ("a/**/z", "a/z"),
        ("a/**/z", "a/b/c/z"),
        ("v*", "v1.2"),
        ("v*-rc*", "v1-rc2"),
        ("v?", "v1"),
        ("*a*b", "xxaxxbxxb"),
    ],
)
def test_a_pattern_matches_what_it_stands_for(pattern: str, name: str) -> None:
    assert matches(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("team/*", "team/a/b"),
        ("team/*", "team"),
        ("team", "team/app"),
        ("tea*", "team/app"),
        ("**/app", "a/app/b"),
        ("v?", "v"),
        ("v?", "v12"),
        ("", "a"),
        ("v*-rc*", "v1"),
        ("[a-z]", "b"),
    ],
)
def test_a_pattern_matches_nothing_else(pattern: str, name: str) -> None:
    assert not matches(pattern, name)


def test_an_exclamation_mark_leaves_out() -> None:
    patterns = Patterns.parse(["v*", "!v*-rc*"])

    assert [name for name in ("v1", "v1-rc1", "latest") if patterns.match(name)] == ["v1"]
    assert str(patterns) == "v*, !v*-rc*"


def test_only_exclusions_leave_all_the_rest() -> None:
    patterns = Patterns.parse(["!cache/**"])

    assert patterns.match("team/app")
    assert not patterns.match("cache/docker.io/library/redis")


def test_no_pattern_matches_everything() -> None:
    assert Patterns.parse([]).match("team/app")


@pytest.mark.parametrize("text", ["", "!", "x" * 301])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="pattern"):
        Patterns.parse([text])


def test_a_hostile_pattern_takes_no_time() -> None:
    started = time.monotonic()

    assert not matches("*a" * 149 + "b", "a" * 255)
    assert not matches("**/" * 99 + "b", "a/" * 127 + "a")

    assert time.monotonic() - started < 1
