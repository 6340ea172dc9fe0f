"""Names that a repository and a tag may have (OCI distribution-spec, "Pulling manifests")."""

from __future__ import annotations

import re
from typing import Final

MAX_REPOSITORY: Final = 255  # characters; the specification sets no limit, clients do
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def is_repository(text: str) -> bool:
    """Whether a repository may be called ``text``."""
    return len(text) <= MAX_REPOSITORY and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether a tag may be called ``text``."""
    return _TAG.fullmatch(text) is not None
