"""Referrers: the manifests about another one (OCI distribution-spec, "Listing Referrers")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry import errors
from distore.registry.message import Response
from distore.registry.paging import page_of

if TYPE_CHECKING:
    from distore.registry.catalog import Catalog
    from distore.registry.message import Request

_FILTER: Final = "artifactType"


def list_referrers(
    request: Request, *, catalog: Catalog, repository: str, subject: str, most: int
) -> Response:
    """An index of them in the order of their digests; an empty one where nothing refers.

    Args:
        most: Referrers in one answer; Link leads to the others.
    """
    try:
        digest = Digest(subject)
    except InvalidArgument as error:
        return errors.refusal(400, errors.DIGEST_INVALID, str(error))
    wanted = request.query.get(_FILTER)
    found = {
        str(referrer.digest): referrer
        for referrer in catalog.referrers(repository, digest)
        if wanted is None or referrer.artifact_type == wanted
    }
    try:
        page = page_of(request, found, path=f"/v2/{repository}/referrers/{digest}", most=most, keep=_FILTER)
    except InvalidArgument as error:
        return errors.refusal(400, errors.UNSUPPORTED, str(error))
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [found[name].to_json() for name in page.names],
    }
    headers = {"content-type": mediatypes.OCI_INDEX, **page.headers}
    if wanted is not None:
        headers["oci-filters-applied"] = _FILTER
    return Response(status=200, headers=headers, body=json.dumps(document).encode())
