"""Lists of names, page by page: the tags of a repository, the repositories of a registry."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.registry import errors
from distore.registry.grants import PULL
from distore.registry.message import Response
from distore.registry.paging import page_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.registry.message import Request
    from distore.repositories import Repositories

MAX_PAGE: Final = 10_000  # names in one answer
CATALOG_PATH: Final = "/v2/_catalog"


def list_tags(request: Request, repositories: Repositories, *, repository: str) -> Response:
    """Names in lexical order, ``n`` of them after ``last``; the repository is there."""

    def listed(after: str, limit: int) -> list[str]:
        return [tag.name for tag in repositories.tags(repository, after=after, limit=limit)]

    try:
        page = page_of(request, listed, name=str, path=f"/v2/{repository}/tags/list", most=MAX_PAGE)
    except InvalidArgument as error:
        return errors.refusal(400, errors.UNSUPPORTED, str(error))
    return _listed({"name": repository, "tags": page.items}, **page.headers)


def list_repositories(request: Request, names: Callable[[str, int], list[str]]) -> Response:
    """As ``list_tags``; not in the OCI specification, but in Docker's, and common.

    Those that the client may not pull from are left out.

    Args:
        names: So many repositories in lexical order, behind one.
    """
    listed = partial(_allowed, request, names)
    try:
        page = page_of(request, listed, name=str, path=CATALOG_PATH, most=MAX_PAGE)
    except InvalidArgument as error:
        return errors.refusal(400, errors.UNSUPPORTED, str(error))
    return _listed({"repositories": page.items}, **page.headers)


def _allowed(request: Request, names: Callable[[str, int], list[str]], after: str, limit: int) -> list[str]:
    found: list[str] = []
    size = limit
    while batch := names(after, size):
        found += [name for name in batch if request.grants.may(PULL, name)]
        if len(found) >= limit or len(batch) < size:
            break
        # Who may see few of many names shall not have them read two by two.
        after, size = batch[-1], min(2 * size, MAX_PAGE)
    return found[:limit]


def _listed(document: object, **headers: str) -> Response:
    return Response(
        status=200,
        headers={"content-type": "application/json", **headers},
        body=json.dumps(document).encode(),
    )
