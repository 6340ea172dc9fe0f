"""Runtime: the program that starts containers, runc or crun, and its command lines (runtime-spec)."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Final

from distore.errors import FailedPrecondition, NotFound

KNOWN: Final = ("runc", "crun")  # looked for in this order


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """``state``: where it keeps what it knows of containers; nobody else's are there."""

    path: str
    state: str
    has_cgroups: bool = True

    @property
    def is_crun(self) -> bool:
        """By its name: nothing else is there to tell before it runs."""
        return os.path.basename(os.path.realpath(self.path)).startswith("crun")

    def run(self, id: str, bundle: str) -> tuple[str, ...]:
        """Create, start, wait and delete, with our standard streams."""
        return (*self._words, "run", "--bundle", bundle, id)

    def delete(self, id: str) -> tuple[str, ...]:
        """Kill what is left of one, and forget it."""
        return (*self._words, "delete", "--force", id)

    @property
    def _words(self) -> tuple[str, ...]:
        # runc finds out by itself that it may make no cgroups; crun may wait for systemd to make one.
        own = ("--cgroup-manager=disabled",) if self.is_crun and not self.has_cgroups else ()
        return (self.path, "--root", self.state, *own)


def find_runtime(given: str | None, *, path: str | None) -> str:
    """The absolute path of a runtime.

    Args:
        given: A name or a path; None: the first of KNOWN.
        path: Where to look for names, as in $PATH; None: where the system does.
    Raises:
        NotFound: There is none.
        FailedPrecondition: It cannot be run.
    """
    if given is None:
        found = next((one for name in KNOWN if (one := shutil.which(name, path=path))), None)
        if found is None:
            raise NotFound(f"no runtime: neither {' nor '.join(KNOWN)} is on $PATH; install one of them")
        return os.path.abspath(found)
    found = shutil.which(given, path=path)
    if found is None:
        if os.path.exists(given) and os.sep in given:
            raise FailedPrecondition(f"runtime {given}: not a program that can be run")
        raise NotFound(f"runtime {given}: not found; give runc, crun or a path")
    return os.path.abspath(found)
