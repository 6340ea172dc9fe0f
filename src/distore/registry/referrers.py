"""Referrers: the manifests about another one (OCI distribution-spec, "Listing Referrers")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.registry import errors
from distore.registry.message import Response
from distore.registry.paging import is_text, page_of

if TYPE_CHECKING:
    from distore.oci.descriptor import Descriptor
    from distore.registry.message import Request
    from distore.repositories import Repositories

_FILTER: Final = "artifactType"


def list_referrers(
    request: Request, *, repositories: Repositories, repository: str, subject: str, most: int
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

    def listed(after: str, limit: int) -> list[Descriptor]:
        if wanted is not None and not is_text(wanted):
            return []  # no manifest has it: JSON is UTF-8
        return repositories.referrers(repository, digest, artifact_type=wanted, after=after, limit=limit)

    path = f"/v2/{repository}/referrers/{digest}"
    try:
        page = page_of(request, listed, name=_name, path=path, most=most, keep=_FILTER)
    except InvalidArgument as error:
        return errors.refusal(400, errors.UNSUPPORTED, str(error))
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [referrer.to_json() for referrer in page.items],
    }
    headers = {"content-type": mediatypes.OCI_INDEX, **page.headers}
    if wanted is not None:
        headers["oci-filters-applied"] = _FILTER
    return Response(status=200, headers=headers, body=json.dumps(document).encode())


def _name(referrer: Descriptor) -> str:
    return str(referrer.digest)
