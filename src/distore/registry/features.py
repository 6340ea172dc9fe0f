"""Features: what a registry can do; older ones lack some of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_PAGE: Final = 1000  # referrers in one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Everything of distribution-spec 1.1, unless told otherwise.

    Args:
        referrers: Without, the API answers 404 and no push has an OCI-Subject.
        mount: Without, every mount becomes an upload.
        chunked: Without, PATCH is refused with 405; a blob comes whole, in one POST or PUT.
        min_chunk: Bytes that every chunk but the last must have, or None.
        page: Referrers in one answer.
        guess: Give out as a manifest, by digest, what was pushed as a blob and reads as one.
    """

    referrers: bool = True
    mount: bool = True
    chunked: bool = True
    min_chunk: int | None = None
    page: int = MAX_PAGE
    guess: bool = False
