"""Table: every row, in the order of the specification; running it, and what it looks like as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.testing.registry_conformance import deleting, listing, manifesting, pulling, pushing
from distore.testing.registry_conformance.place import Place
from distore.testing.registry_conformance.row import Absent, Failed, Outcome, Result, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from distore.testing.registry_conformance.asking import Asking

_MODULES: Final[tuple[ModuleType, ...]] = (pulling, pushing, manifesting, listing, deleting)
TABLE: Final[tuple[Row, ...]] = tuple(
    value for module in _MODULES for value in vars(module).values() if isinstance(value, Row)
)
_PAGE: Final = """\
# Conformance

What the [OCI distribution specification](https://github.com/opencontainers/distribution-spec) 1.1 asks of a
registry, row by row, in our own words; rows of later drafts are here, too. `dist serve` is tested against
every row, and Debian's docker-registry 2.8.2 beside it, to calibrate the rows. This page is made from the
table in `distore.testing.registry_conformance`; any registry can be asked:

```console
$ python -m distore.testing.registry_conformance http://localhost:5000/ --repository conformance
```

"not offered": the registry says so in a way that the specification allows.

| Section | | Requirement | dist serve | docker-registry 2.8.2 |
|---|---|---|---|---|
"""


def run(row: Row, asking: Asking, *, prefix: str, unique: Callable[[], str]) -> Result:
    """Ask one thing, in a repository of its own below ``prefix``."""
    try:
        row.check(Place(asking, prefix=prefix, unique=unique))
    except Failed as error:
        return Result(row=row, outcome=Outcome.FAILED, why=str(error))
    except Absent as error:
        return Result(row=row, outcome=Outcome.ABSENT, why=str(error))
    return Result(row=row, outcome=Outcome.PASSED)


def run_all(asking: Asking, *, prefix: str, unique: Callable[[], str]) -> Iterator[Result]:
    """Ask everything."""
    for row in TABLE:
        yield run(row, asking, prefix=prefix, unique=unique)


def markdown(ours: Mapping[str, Outcome], docker: Mapping[str, Outcome]) -> str:
    """The page; rows that a mapping does not name are kept."""
    lines = [
        f"| {row.section} | {row.level} | {row.says} | {_of(ours, row)} | {_of(docker, row)} |"
        for row in TABLE
    ]
    return _PAGE + "\n".join(lines) + "\n"


def _of(outcomes: Mapping[str, Outcome], row: Row) -> str:
    return outcomes.get(row.name, Outcome.PASSED).value
