"""Rules: whatever one of them allows is allowed, and nothing else."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distore.errors import InvalidArgument
from distore.registry.patterns import Patterns
from distore.registry.rules import ACTIONS, Rule, RuleReader, Rules, groups_of, rules_in
from distore.registry.table import Table

USERS = ["ann", "bob", "anonymous", "*"]
COMPONENTS = ["a", "b", "team", "x-1"]
names = st.lists(st.sampled_from(COMPONENTS), min_size=1, max_size=4).map("/".join)
patterns = st.lists(st.sampled_from([*COMPONENTS, "*", "**", "te*"]), min_size=1, max_size=4).map("/".join)


def rule(**values: object) -> Rule:
    table = Table({"repositories": ["**"], "users": ["ann"], **values}, where="t", folder="")
    return RuleReader({"ci": ("bot", "bob")}).read([table])[0]


rules = st.lists(
    st.builds(
        lambda repositories, users, actions: rule(
            repositories=repositories, users=users, actions=actions or ["none"]
        ),
        st.lists(patterns, min_size=1, max_size=3),
        st.lists(st.sampled_from(USERS), min_size=1, max_size=3),
        st.lists(st.sampled_from(ACTIONS), max_size=3, unique=True),
    ),
    max_size=5,
)


def modelled(pattern: list[str], name: list[str]) -> bool:
    """The slow and plain way."""
    if not pattern:
        return not name
    if pattern[0] == "**":
        return any(modelled(pattern[1:], name[skip:]) for skip in range(len(name) + 1))
    return bool(name) and fnmatchcase(name[0], pattern[0]) and modelled(pattern[1:], name[1:])


@given(rules, st.sampled_from(["ann", "bob", None]), names)
def test_rules_allow_what_a_plain_reading_of_them_allows(
    given_rules: list[Rule], user: str | None, name: str
) -> None:
    expected = {
        action
        for one in given_rules
        for action in one.actions
        if one.anonymous or (user is not None and (one.everyone or user in one.users))
        if any(modelled(pattern.split("/"), name.split("/")) for pattern in one.repositories.included)
    }

    allowed = Rules(given_rules)

    assert allowed.allowed(user, name) == expected
    assert allowed.allowed(user, name) == expected  # of memory, the second time
    assert Rules(reversed(given_rules)).allowed(user, name) == expected


@given(rules, names)
def test_whoever_logs_in_may_do_no_less_than_before(given_rules: list[Rule], name: str) -> None:
    allowed = Rules(given_rules)

    assert allowed.allowed(None, name) <= allowed.allowed("ann", name)


@pytest.mark.parametrize(
    "name", ["..", "a/..", "a/../b", "a//b", "/a", "a/", "", ".", "a\\b", "a\0b", "a\nb", "a" * 513]
)
def test_nothing_is_allowed_in_what_is_no_repository(name: str) -> None:
    assert Rules([rule(users=["anonymous"])]).allowed("ann", name) == frozenset()


def test_a_name_may_be_left_out_of_a_rule() -> None:
    allowed = Rules([rule(repositories=["**", "!secret/**"])])

    assert allowed.allowed("ann", "team/x") == set(ACTIONS)
    assert allowed.allowed("ann", "secret/x") == frozenset()


def test_a_group_stands_for_its_users() -> None:
    allowed = Rules([rule(users=["@ci"], actions=["push"])])

    assert allowed.allowed("bot", "x") == {"push"}
    assert allowed.allowed("ann", "x") == frozenset()


@pytest.mark.parametrize("user", ["*", "@ci", "anonymous"])
def test_a_user_who_is_called_as_others_are_meant_gains_nothing(user: str) -> None:
    assert Rules([rule(users=["@ci"])]).allowed(user, "x") == frozenset()
    assert Rules([rule(users=["ann"])]).allowed(user, "x") == frozenset()


def test_a_pattern_of_many_stars_takes_no_long_time() -> None:
    hostile = rule(repositories=["*a" * 100 + "b", "/".join(["**", "a"] * 55)])
    begun = time.perf_counter()

    assert Rules([hostile]).allowed("ann", "a" * 255) == frozenset()
    assert Rules([hostile]).allowed("ann", "/".join("a" * 127) + "/b") == frozenset()

    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repositories": []}, "'repositories': want a list of patterns"),
        ({"repositories": ["a//b"]}, "'repositories': 'a//b'"),
        ({"repositories": ["../b"]}, "'repositories'"),
        ({"repositories": ["x" * 301]}, "'repositories'"),
        ({"users": []}, "'users': want a list"),
        ({"users": ["@nobody"]}, "no group is called 'nobody'"),
        ({"actions": ["write"]}, "'write': want pull, push, delete"),
        ({"action": ["pull"]}, "'action': no such setting"),
        ({"users": 1}, "'users': want a list of texts"),
    ],
)
def test_a_wrong_rule_is_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        rule(**values)


def test_a_group_has_no_group_in_it() -> None:
    with pytest.raises(InvalidArgument, match="'ci': a group has names of users"):
        groups_of(Table({"ci": ["@other"]}, where="t", folder=""))


def test_a_file_of_rules_has_groups_of_its_own() -> None:
    text = b'[groups]\nops = ["eve"]\n[[rule]]\nrepositories = ["x"]\nusers = ["@ops", "@ci"]\n'

    found = rules_in(text, path="rules.toml", groups={"ci": ("bot",)})

    assert found == (Rule(repositories=Patterns(("x",)), users=frozenset({"eve", "bot"})),)


@pytest.mark.parametrize(
    "data", [b"\xff", b"rule = 1", b"[[rule]]", b"x = 1", b"a = " + b"[" * 5000, b"[groups]\na = 1"]
)
def test_a_file_that_has_no_rules_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"^rules\.toml"):
        rules_in(data, path="rules.toml", groups={})
