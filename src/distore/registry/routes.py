"""Routes: method and path to the handler that answers (OCI distribution-spec, "Endpoints")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.errors import DistoreError
from distore.registry import errors
from distore.registry.blobs import get_blob
from distore.registry.manifests import get_manifest
from distore.registry.message import Response
from distore.registry.tags import list_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distore.content.store import Provider
    from distore.oci.descriptor import Descriptor
    from distore.registry.message import Request


class Registry:
    """The read side of a registry. ``handle`` is a Handler, safe to call from any thread.

    Args:
        content: Has the blobs; every repository offers all of them.
        repositories: Tags by repository; may change while serving.
    """

    def __init__(self, content: Provider, repositories: Mapping[str, Mapping[str, Descriptor]]) -> None:
        self._content = content
        self._repositories = repositories

    def handle(self, request: Request) -> Response:
        """Answer one request; never raises a DistoreError."""
        if request.method not in ("GET", "HEAD"):
            return errors.refusal(405, errors.UNSUPPORTED, "this registry is read-only", allow="GET, HEAD")
        try:
            return self._answer(request)
        except DistoreError as error:
            return errors.response_for(error)

    def _answer(self, request: Request) -> Response:
        if request.path.rstrip("/") == "/v2":
            return Response(status=200, headers={"content-type": "application/json"}, body=b"{}")
        prefix, name, kind, last = _parts(request.path)
        if prefix != "v2" or kind not in ("blobs", "manifests", "tags"):
            return errors.refusal(404, errors.UNSUPPORTED, "no such endpoint")
        tags = self._repositories.get(name)
        if tags is None:
            return errors.refusal(404, errors.NAME_UNKNOWN, f"repository {name[:255]} is unknown")
        if kind == "blobs":
            return get_blob(self._content, request, last)
        if kind == "manifests":
            return get_manifest(self._content, request, tags=tags, name=last)
        if last != "list":
            return errors.refusal(404, errors.UNSUPPORTED, "no such endpoint")
        return list_tags(request, repository=name, tags=list(tags))


def _parts(path: str) -> tuple[str, str, str, str]:
    """``/v2/NAME/KIND/LAST``; NAME may have slashes."""
    prefix, _, rest = path.strip("/").partition("/")
    name, _, last = rest.rpartition("/")
    name, _, kind = name.rpartition("/")
    return prefix, name, kind, last
