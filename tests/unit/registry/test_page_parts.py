"""What pages are made of: markup, words, links, command lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.registry.page_site import Strict

from distore.oci.manifest import ImageConfig
from distore.oci.platform import Platform
from distore.registry.message import Request
from distore.registry.pages import words
from distore.registry.pages.configview import config_view, created_of, moment_of
from distore.registry.pages.links import Place, place_of
from distore.registry.pages.markup import Html, el, join
from distore.registry.pages.pulling import pull_lines

# What a config may have where something else belongs; the names are those that are looked for.
NAMES = (
    st.sampled_from(["Cmd", "Entrypoint", "Env", "Labels", "ExposedPorts", "Volumes", "User", "a"])
    | st.text()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("host", "scheme", "line"),
    [
        ("r.example", "https", "podman pull r.example/a/b:1"),
        ("r.example", "http", "podman pull --tls-verify=false r.example/a/b:1"),
        ("r.example", "http", "dist pull --plain-http r.example/a/b:1"),
        ("localhost:5000", "http", "dist pull localhost:5000/a/b:1"),
        ("[::1]:5000", "http", "ctr images pull --plain-http [::1]:5000/a/b:1"),
        ("r.example", "https", "skopeo copy docker://r.example/a/b:1 oci:b:1"),
        ("r.example;rm -rf /", "https", "docker pull HOST/a/b:1"),
        ("r.example\n", "https", "docker pull HOST/a/b:1"),
    ],
)
def test_pull_lines_name_the_server_as_the_visitor_does(host: str, scheme: str, line: str) -> None:
    request = Request(method="GET", path="/", headers={"host": host}, scheme=scheme)

    shown = Strict(pull_lines(request, Place("a/b", "1"))).text

    assert line in shown


@given(st.text(), st.text())
def test_markup_gives_back_the_text_that_it_was_given(value: str, attribute: str) -> None:
    made = el("p", value, title=attribute)

    assert made.startswith("<p title=")
    assert made.count("<") == 2
    assert made.count(">") == 2
    assert '"' not in made.partition('="')[2].partition('">')[0]


def test_markup_leaves_html_alone_and_escapes_the_rest() -> None:
    assert join(el("br"), ["<", None, 5, Html("<i></i>")]) == "<br>&lt;5<i></i>"
    assert el("input", disabled=True, value=None, for_="x", aria_label="'") == (
        '<input disabled for="x" aria-label="&#x27;">'
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (10**9, "31 years ago"),
    ],
)
def test_ages_are_told_in_the_largest_unit(seconds: float, text: str) -> None:
    assert words.age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (123_456_789, "123 MB"), (None, "\N{EN DASH}")],
)
def test_sizes_are_told_by_thousands(count: int | None, text: str) -> None:
    assert words.size(count).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    "given", ["", "x", "2026-01-01", 5, None, "0001-01-01T00:00:00+23:59", "1970-01-01T00:00:00Z"]
)
def test_a_time_that_is_none_is_left_out(given: object) -> None:
    assert moment_of(given) is None


def test_a_time_of_go_has_more_digits_than_ours() -> None:
    moment = moment_of("2026-11-01T10:00:00.123456789+02:00")

    assert moment is not None
    assert moment.isoformat() == "2026-11-01T08:00:00+00:00"


@given(st.text(max_size=50))
def test_any_end_of_a_path_is_a_place(text: str) -> None:
    place = place_of(text)

    assert place.is_digest is ("@" in text)


@pytest.mark.slow
@given(JSON, st.lists(JSON, max_size=4), JSON)
def test_a_config_of_any_json_is_shown_as_text(inner: object, history: list[object], created: object) -> None:
    document = {"config": inner, "history": history, "created": created, "author": inner}
    platform = Platform(os="linux", architecture="amd64")
    config = ImageConfig(platform=platform, diff_ids=(), document=document)

    shown = config_view(config)

    assert shown is not None
    Strict(shown)
    created_of(config)
