"""The referrers tag: how a registry without the referrers API keeps what refers to a manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from distore.errors import FailedPrecondition, InvalidArgument, NotFound
from distore.oci import mediatypes
from distore.oci.manifest import Index, Manifest, parse_manifest
from distore.remotes.fetch import fetch_document
from distore.remotes.http.bodies import Whole
from distore.remotes.http.client import PUSH
from distore.remotes.http.errors import error_from
from distore.remotes.http.fetcher import HttpFetcher
from distore.remotes.http.repository import fallback_tag
from distore.remotes.resolver import Target

if TYPE_CHECKING:
    from distore.oci.descriptor import Descriptor
    from distore.remotes.http.client import Client
    from distore.remotes.http.hosts import Host


def add_referrer(client: Client, host: Host, descriptor: Descriptor, document: Manifest | Index) -> None:
    """Enter ``descriptor`` into the index of its subject's tag, unless it is there.

    Two clients that do it at the same moment may lose one entry: the specification has no way out
    (distribution-spec, "Pushing Manifests with Subject").
    """
    assert document.subject is not None
    tag = fallback_tag(document.subject.digest)
    known = _known(client, tag)
    if any(entry.digest == descriptor.digest for entry in known):
        return
    config = document.config.media_type if isinstance(document, Manifest) else None
    entry = replace(
        descriptor,
        artifact_type=document.artifact_type or config,
        annotations=dict(document.annotations),
        platform=None,
        data=None,
        urls=(),
    )
    index = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [each.to_json() for each in (*known, entry)],
    }
    data = json.dumps(index).encode()
    response = client.request(
        host,
        "PUT",
        f"manifests/{tag}",
        headers={"Content-Type": mediatypes.OCI_INDEX},
        scope=client.scope(PUSH),
        body=Whole(data),
    )
    if response.status not in (200, 201, 202, 204):
        raise error_from(response, f"referrers tag {client.repository.name}:{tag}")
    response.discard()


def _known(client: Client, tag: str) -> tuple[Descriptor, ...]:
    """What the index has.

    Raises:
        FailedPrecondition: The tag stands for something else, which is not to be lost.
    """
    subject = f"referrers tag {client.repository.name}:{tag}"
    try:
        document = fetch_document(HttpFetcher(client), Target(tag=tag, media_type=mediatypes.OCI_INDEX))
    except NotFound:
        return ()
    try:
        parsed = parse_manifest(document.data, media_type=None, subject=tag)
    except InvalidArgument as error:
        raise FailedPrecondition(f"{subject}: {error}") from error
    if not isinstance(parsed, Index):
        raise FailedPrecondition(f"{subject}: it is no index; delete the tag")
    return parsed.manifests
