"""Row: one thing that the specification says, and how to find out whether a registry does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distore.testing.registry_conformance.place import Place

MUST: Final = "MUST"
SHOULD: Final = "SHOULD"
MAY: Final = "MAY"

Check = Callable[["Place"], None]


class Outcome(Enum):
    """Of one row."""

    PASSED = "yes"
    FAILED = "no"
    ABSENT = "not offered"  # which the specification allows


class Failed(Exception):
    """The registry does something else than the row says."""


class Absent(Exception):
    """The registry says that it has not got what the row is about, as it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``name`` is unique; ``section`` is a heading of the specification, with the endpoints concerned."""

    name: str
    level: str
    section: str
    says: str
    check: Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``why`` it is no other."""

    row: Row
    outcome: Outcome
    why: str = ""


def row(level: str, section: str, says: str) -> Callable[[Check], Row]:
    """Make a Row of the function below, under its name."""

    def made(check: Check) -> Row:
        name = getattr(check, "__name__", "").replace("_", "-")
        return Row(name=name, level=level, section=section, says=says, check=check)

    return made
