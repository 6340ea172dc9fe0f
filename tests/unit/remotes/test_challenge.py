"""WWW-Authenticate: honest headers, sloppy ones, and hostile ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.remotes.http.challenge import MAX_LENGTH, MAX_PARAMETERS, Challenge, parse_challenges


def bearer(**parameters: str) -> Challenge:
    return Challenge(scheme="bearer", parameters=parameters)


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (
            'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull"',
            bearer(realm="https://auth.example/token", service="reg", scope="repository:a/b:pull"),
        ),
        ('bearer REALM="r"', bearer(realm="r")),
        ("Bearer realm=r , service = s", bearer(realm="r", service="s")),
        ('Bearer realm="a,b", scope="x y"', bearer(realm="a,b", scope="x y")),
        (r'Bearer realm="a\"b\\c"', bearer(realm='a"b\\c')),
        ('Bearer realm="open', bearer(realm="open")),
        ('Bearer realm="a",realm="b"', bearer(realm="a")),
        ('Bearer ,,realm="a"', bearer(realm="a")),
        ('Bearer realm=""', bearer(realm="")),
        ("Bearer realm=", bearer(realm="")),
        ("Negotiate", Challenge(scheme="negotiate", parameters={})),
    ],
)
def test_a_challenge_is_a_scheme_and_its_parameters(header: str, challenge: Challenge) -> None:
    assert parse_challenges([header]) == (challenge,)


def test_one_header_may_hold_several_challenges() -> None:
    found = parse_challenges(['Basic realm="x", Bearer realm="y",service="z", Negotiate'])

    assert found == (
        Challenge(scheme="basic", parameters={"realm": "x"}),
        bearer(realm="y", service="z"),
        Challenge(scheme="negotiate", parameters={}),
    )


def test_several_headers_count_together() -> None:
    assert [found.scheme for found in parse_challenges(["Basic realm=x", "Bearer realm=y"])] == [
        "basic",
        "bearer",
    ]


@pytest.mark.parametrize("header", ["", ",", " , ,", '"', "=", "\x00\x01", "ü" * 20])
def test_what_is_no_challenge_is_left_out(header: str) -> None:
    assert parse_challenges([header]) == ()


def test_only_so_much_of_the_headers_is_read() -> None:
    late = " " * MAX_LENGTH + "Bearer realm=late"

    assert parse_challenges([late]) == ()
    assert parse_challenges([" " * MAX_LENGTH, "Bearer realm=late"]) == ()


def test_a_challenge_has_only_so_many_parameters() -> None:
    header = "Bearer " + ",".join(f"p{number}=x" for number in range(1000))

    found = parse_challenges([header])

    assert len(found[0].parameters) == MAX_PARAMETERS


@given(st.lists(st.text(), max_size=4))
def test_no_header_whatever_is_an_error(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert len(challenge.parameters) <= MAX_PARAMETERS


WORDS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8)


@given(st.dictionaries(WORDS, st.text(st.characters(min_codepoint=32, max_codepoint=126)), max_size=5))
def test_quoted_values_come_back_as_they_went_in(parameters: dict[str, str]) -> None:
    quoted = [
        '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"'))
        for name, value in parameters.items()
    ]

    assert parse_challenges([f"Bearer {', '.join(quoted)}"]) == (bearer(**parameters),)
