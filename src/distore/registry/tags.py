"""Lists of names, page by page: the tags of a repository, the repositories of a registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.registry import errors
from distore.registry.message import Response
from distore.registry.paging import page_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distore.registry.message import Request

MAX_PAGE: Final = 10_000  # names in one answer
CATALOG_PATH: Final = "/v2/_catalog"


def list_tags(request: Request, *, repository: str, tags: Iterable[str]) -> Response:
    """Names in lexical order, ``n`` of them after ``last``."""
    try:
        page = page_of(request, tags, path=f"/v2/{repository}/tags/list", most=MAX_PAGE)
    except InvalidArgument as error:
        return errors.refusal(400, errors.UNSUPPORTED, str(error))
    return _listed({"name": repository, "tags": page.names}, **page.headers)


def list_repositories(request: Request, repositories: Iterable[str]) -> Response:
    """As ``list_tags``; not in the OCI specification, but in Docker's, and common."""
    try:
        page = page_of(request, repositories, path=CATALOG_PATH, most=MAX_PAGE)
    except InvalidArgument as error:
        return errors.refusal(400, errors.UNSUPPORTED, str(error))
    return _listed({"repositories": page.names}, **page.headers)


def _listed(document: object, **headers: str) -> Response:
    return Response(
        status=200,
        headers={"content-type": "application/json", **headers},
        body=json.dumps(document).encode(),
    )
