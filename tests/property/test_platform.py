"""Platforms: text and JSON lead back to the value, and the order of choices is one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distore.errors import InvalidArgument
from distore.oci.platform import Only, Platform

words = st.from_regex(r"\A[A-Za-z0-9_-][A-Za-z0-9_.-]{0,6}\Z")
systems = st.one_of(
    st.sampled_from(["linux", "Linux", "windows", "macos"]), st.from_regex(r"\A[A-Za-z0-9_-]{1,6}\Z")
)
architectures = st.one_of(
    st.sampled_from(["amd64", "x86_64", "arm", "armhf", "armel", "arm64", "aarch64", "i386", "386"]), words
)
variants = st.one_of(
    st.sampled_from(["", "v1", "v2", "v3", "6", "v7", "v8", "8", "v8.0", "v8.3", "v9", "v9.2"]), words
)
printable = st.text(max_size=6).filter(str.isprintable)
platforms = st.builds(
    Platform,
    os=systems,
    architecture=architectures,
    variant=variants,
    os_version=printable,
    os_features=st.lists(printable.filter(bool), max_size=3).map(tuple),
)


@pytest.mark.slow
@settings(deadline=None)
@given(platform=platforms)
def test_text_parses_to_the_normal_form_of_what_was_formatted(platform: Platform) -> None:
    normal = platform.normalized()

    assert Platform.parse(str(platform)) == normal
    assert Platform.parse(str(normal)) == normal == normal.normalized()


@pytest.mark.slow
@settings(deadline=None)
@given(platform=platforms)
def test_json_leads_back_to_the_very_same_platform(platform: Platform) -> None:
    assert Platform.from_json(platform.to_json()) == platform


@pytest.mark.slow
@settings(deadline=None)
@given(host=platforms, images=st.lists(platforms, max_size=6))
def test_a_machine_runs_itself_first_and_sorts_the_rest(host: Platform, images: list[Platform]) -> None:
    only = Only(host)

    best = only.best(images)

    assert only.rank(host) == 0
    assert sorted(map(str, best)) == sorted(str(image) for image in images if only.match(image))
    assert [only.rank(image) for image in best] == sorted(only.rank(image) or 0 for image in best)


@pytest.mark.slow
@settings(deadline=None)
@given(one=platforms, two=platforms, three=platforms)
def test_running_is_transitive(one: Platform, two: Platform, three: Platform) -> None:
    # The os apart: an unknown version matches every build, in the middle of a chain, too.
    one, two, three = (
        Platform(os="linux", architecture=each.architecture, variant=each.variant)
        for each in (one, two, three)
    )

    if Only(one).match(two) and Only(two).match(three):
        assert Only(one).match(three)


@settings(deadline=None)
@given(text=st.one_of(st.text(max_size=30), st.text("linuxarm64/()+%v8.", max_size=30)))
def test_any_text_parses_or_is_refused_in_one_line(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except InvalidArgument as error:
        assert str(error).isprintable()
    else:
        assert Platform.parse(str(platform)) == platform
