"""Rules: who may do what in which repositories; whatever one of them allows is allowed."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.registry.grants import DELETE, PULL, PUSH
from distore.registry.patterns import Patterns
from distore.registry.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ACTIONS: Final = (PULL, PUSH, DELETE)
ANONYMOUS: Final = "anonymous"  # who has shown nothing
EVERY_USER: Final = "*"
MAX_RULES: Final = 1000
MAX_FILE: Final = 1024 * 1024  # bytes
_NOTHING: Final[frozenset[str]] = frozenset()
_MAX_KNOWN: Final = 10_000  # answers that are remembered
_MAX_NAME: Final = 512  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``users`` are names; ``everyone``: whoever has one; ``anonymous``: everybody, with or without."""

    repositories: Patterns
    users: frozenset[str] = frozenset()
    everyone: bool = False
    anonymous: bool = False
    actions: frozenset[str] = frozenset(ACTIONS)

    def is_about(self, user: str | None) -> bool:
        """Whether it says anything of a user; None: who has shown nothing."""
        return self.anonymous or (user is not None and (self.everyone or user in self.users))


class Rules:
    """Allows what one of ``rules`` allows, and nothing else: their order does not matter.

    Safe to use from any thread.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._known: dict[tuple[str | None, str], frozenset[str]] = {}

    def allowed(self, user: str | None, repository: str) -> frozenset[str]:
        """The actions; nothing in what cannot be a repository."""
        key = (user, repository)
        known = self._known.get(key)
        if known is None:
            if len(repository) > _MAX_NAME:
                return _NOTHING
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = self._allowed(user, repository)
        return known

    def may_somewhere(self, user: str | None, action: str) -> bool:
        """Whether there can be a repository where it is allowed."""
        return any(rule.is_about(user) and action in rule.actions for rule in self.rules)

    def _allowed(self, user: str | None, repository: str) -> frozenset[str]:
        if not _is_plain(repository):
            return _NOTHING
        given = (
            rule.actions for rule in self.rules if rule.is_about(user) and rule.repositories.match(repository)
        )
        return _NOTHING.union(*given)


def _is_plain(repository: str) -> bool:
    """Whether every component is one: a pattern must not be led elsewhere by ``..`` and its like."""
    return (
        repository.isprintable()
        and "\\" not in repository
        and all(part not in ("", ".", "..") for part in repository.split("/"))
    )


@dataclass(slots=True)
class RuleReader:
    """Reads rules; ``groups`` are those that ``@NAME`` means."""

    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def read(self, tables: Iterable[Table]) -> tuple[Rule, ...]:
        """One rule of each table.

        Raises:
            InvalidArgument: One of them is none.
        """
        rules = tuple(self._rule(table) for table in tables)
        if len(rules) > MAX_RULES:
            raise InvalidArgument(f"rules: {len(rules)} of them, want {MAX_RULES} at most")
        return rules

    def _rule(self, table: Table) -> Rule:
        repositories, users = table.texts("repositories"), table.texts("users")
        if not repositories:
            raise table.wrong("repositories", 'want a list of patterns, such as ["team/**"]')
        if not users:
            raise table.wrong("users", 'want a list, such as ["ann", "@ci", "*", "anonymous"]')
        rule = Rule(
            repositories=_patterns(table, repositories),
            users=frozenset(name for text in users for name in self._names(table, text)),
            everyone=EVERY_USER in users,
            anonymous=ANONYMOUS in users,
            actions=actions_of(table, "actions", ACTIONS),
        )
        table.done()
        return rule

    def _names(self, table: Table, text: str) -> tuple[str, ...]:
        if text in (EVERY_USER, ANONYMOUS):
            return ()
        if not text.startswith("@"):
            return (text,)
        if text[1:] not in self.groups:
            raise table.wrong("users", f"no group is called {text[1:61]!a}")
        return self.groups[text[1:]]


def groups_of(table: Table) -> dict[str, tuple[str, ...]]:
    """Users by the name of their group.

    Raises:
        InvalidArgument: As Table.
    """
    groups = {name: table.texts(name) for name in table.keys()}  # noqa: SIM118 - no mapping
    for name, users in groups.items():
        if any(user.startswith("@") or user in (EVERY_USER, ANONYMOUS) for user in users):
            raise table.wrong(name, "a group has names of users, nothing else")
    return groups


def actions_of(table: Table, key: str, default: tuple[str, ...]) -> frozenset[str]:
    """A list of actions; ``none`` or ``nothing``: no action.

    Raises:
        InvalidArgument: As Table.
    """
    actions = table.texts(key, default)
    if actions in (("none",), ("nothing",)):
        return _NOTHING
    for action in actions:
        if action not in ACTIONS:
            raise table.wrong(key, f"{action[:60]!a}: want {', '.join(ACTIONS)}")
    return frozenset(actions)


def rules_in(data: bytes, *, path: str, groups: Mapping[str, tuple[str, ...]]) -> tuple[Rule, ...]:
    """Of a file of its own, with ``[[rule]]`` tables and perhaps ``[groups]``.

    Raises:
        InvalidArgument: It is none; names file, table and key.
    """
    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: {error}") from error
    table = Table(values, where=path, folder="")
    own = groups_of(table.table("groups"))
    rules = RuleReader({**groups, **own}).read(table.tables("rule"))
    table.done()
    return rules


def _patterns(table: Table, texts: tuple[str, ...]) -> Patterns:
    for text in texts:
        if any(part in ("", ".", "..") for part in text.removeprefix("!").split("/")) or "\\" in text:
            raise table.wrong("repositories", f"{text[:60]!a}: want components with one slash between")
    try:
        return Patterns.parse(texts)
    except InvalidArgument as error:
        raise table.wrong("repositories", str(error)) from error
