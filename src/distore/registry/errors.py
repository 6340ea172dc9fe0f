"""Refusals: our classes as status and error code (OCI distribution-spec, "Error Codes")."""

from __future__ import annotations

import json
from typing import Final

from distore.errors import (
    Cancelled,
    DeadlineExceeded,
    DiskFull,
    DistoreError,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    QuotaExceeded,
    ReadOnly,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from distore.registry.message import Response

BLOB_UNKNOWN: Final = "BLOB_UNKNOWN"
BLOB_UPLOAD_INVALID: Final = "BLOB_UPLOAD_INVALID"
BLOB_UPLOAD_UNKNOWN: Final = "BLOB_UPLOAD_UNKNOWN"
DENIED: Final = "DENIED"
DIGEST_INVALID: Final = "DIGEST_INVALID"
MANIFEST_BLOB_UNKNOWN: Final = "MANIFEST_BLOB_UNKNOWN"
MANIFEST_INVALID: Final = "MANIFEST_INVALID"
MANIFEST_UNKNOWN: Final = "MANIFEST_UNKNOWN"
NAME_INVALID: Final = "NAME_INVALID"
NAME_UNKNOWN: Final = "NAME_UNKNOWN"
SIZE_INVALID: Final = "SIZE_INVALID"
TOO_MANY_REQUESTS: Final = "TOOMANYREQUESTS"
UNAUTHORIZED: Final = "UNAUTHORIZED"
UNSUPPORTED: Final = "UNSUPPORTED"
UNKNOWN: Final = "UNKNOWN"

_RETRY_AFTER: Final = "1"  # seconds
_STATUS: Final[tuple[tuple[type[DistoreError], int, str], ...]] = (
    (InvalidArgument, 400, NAME_INVALID),
    (Unauthenticated, 401, UNAUTHORIZED),
    (PermissionDenied, 403, DENIED),
    (NotFound, 404, NAME_UNKNOWN),
    (Unimplemented, 405, UNSUPPORTED),
    (OutOfRange, 416, UNSUPPORTED),
    (DiskFull, 507, UNKNOWN),
    (QuotaExceeded, 507, UNKNOWN),
    (ResourceExhausted, 429, TOO_MANY_REQUESTS),
    (Unavailable, 503, UNKNOWN),
    (DeadlineExceeded, 503, UNKNOWN),
    (Cancelled, 503, UNKNOWN),  # the server ends
)


def refusal(status: int, code: str, message: str, **headers: str) -> Response:
    """An error document; underscores in the names of ``headers`` stand for dashes."""
    document = {"errors": [{"code": code, "message": message}]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        status=status,
        headers={"content-type": "application/json", **named},
        body=json.dumps(document).encode(),
    )


def response_for(error: DistoreError) -> Response:
    """What a client is told of an error that no handler foresaw; damage is our fault, not its."""
    if isinstance(error, ReadOnly):  # where the store is concerns no client, nor does a rule deny it
        return refusal(507, UNKNOWN, "the store of this registry takes no writes")
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            later = {"retry_after": _RETRY_AFTER} if status in (429, 503) else {}
            return refusal(status, code, str(error), **later)
    return refusal(500, UNKNOWN, str(error))
