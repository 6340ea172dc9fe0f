"""What a cache answers when an upstream does not say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore._internal.retry import retry_after
from distore.errors import (
    DeadlineExceeded,
    DistoreError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from distore.registry import errors

if TYPE_CHECKING:
    from distore.registry.message import Response
    from distore.registry.routes import Target
    from distore.registry.upstreams import Copy
    from distore.repositories import Tag

DOWN: Final = 5.0  # seconds that an upstream which does not answer is left alone with the same question
REFUSED: Final = (NotFound, PermissionDenied, Unauthenticated)


def warned(answer: Response, copy: Copy, known: Tag | None) -> Response:
    """With a warning that clients show (OCI distribution-spec, "Warnings")."""
    checked = known.checked if known is not None else None
    when = "" if checked is None else f" as of {_text(checked)}"
    warning = f'299 - "{copy.reference.domain} does not answer; this is what is kept here{when}"'
    return replace(answer, headers={**answer.headers, "warning": warning})


def refused(target: Target, copy: Copy, failure: DistoreError) -> Response:
    """Why there is nothing, without what is the operator's: user names, and paths of files."""
    text = f"{copy.reference.name}: {failure}" if copy.reference.name not in str(failure) else str(failure)
    if isinstance(failure, NotFound):
        codes = {"manifests": errors.MANIFEST_UNKNOWN, "blobs": errors.BLOB_UNKNOWN}
        return errors.refusal(404, codes.get(target.kind, errors.NAME_UNKNOWN), text)
    if isinstance(failure, (PermissionDenied, Unauthenticated)):
        # Not 401: what the client would show is not what the upstream wants to see.
        return errors.refusal(403, errors.DENIED, f"{copy.reference.name}: the upstream refuses it")
    if isinstance(failure, InvalidArgument):
        return errors.refusal(502, errors.UNKNOWN, f"{copy.reference.name}: cannot be asked for; see the log")
    if isinstance(failure, (Unavailable, DeadlineExceeded)):
        seconds = retry_after(failure)
        return errors.refusal(503, errors.UNKNOWN, text, retry_after=str(round(seconds or DOWN)))
    return errors.refusal(502, errors.UNKNOWN, text)


def _text(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
