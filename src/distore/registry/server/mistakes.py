"""Mistakes: what whoever runs the server reads of an answer that should not have been."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distore.registry.message import Request, Response

_MAX: Final = 300  # characters of a path, or of an answer


def described(error: BaseException) -> str:
    """Kind, words, and two places: the innermost one of ours, and the one where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}distore{os.sep}" in frame.filename]
    told = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in (*ours[-1:], *frames[-1:])]
    return f"{type(error).__name__}: {error} ({', '.join(dict.fromkeys(told))})"


def answered(request: Request, given: Response) -> str:
    """What was asked, and what was answered."""
    body = given.body[:_MAX].decode(errors="replace") if isinstance(given.body, bytes) else ""
    return f"{request.method[:20]} {request.path[:_MAX]!a}: {given.status} {body}"
