"""Tags: the list of them, page by page (OCI distribution-spec, "Listing Tags")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from distore.registry import errors
from distore.registry.message import Response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distore.registry.message import Request

MAX_PAGE: Final = 10_000  # tags in one answer


def list_tags(request: Request, *, repository: str, tags: Iterable[str]) -> Response:
    """Names in lexical order, ``n`` of them after ``last``."""
    wanted = request.query.get("n", str(MAX_PAGE))
    if not (wanted.isascii() and wanted.isdecimal()) or len(wanted) > 9:
        return errors.refusal(400, errors.UNSUPPORTED, "n: want a number of tags")
    count, last = min(int(wanted), MAX_PAGE), request.query.get("last", "")
    rest = sorted(tag for tag in tags if tag > last)
    page = rest[:count]
    headers = {"content-type": "application/json"}
    if page and len(rest) > count:
        query = urlencode({"n": count, "last": page[-1]})
        headers["link"] = f'</v2/{repository}/tags/list?{query}>; rel="next"'
    return Response(status=200, headers=headers, body=json.dumps({"name": repository, "tags": page}).encode())
