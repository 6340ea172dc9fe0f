"""Who may have a blob again: the registries that its distribution-source labels name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distore.errors import DistoreError
from distore.oci.reference import Reference
from distore.remotes.fetch import SOURCE_LABEL
from distore.remotes.provider import RemoteProvider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distore.content.store import Provider
    from distore.remotes.resolver import Fetchers


def labelled(resolver: Fetchers, labels: Mapping[str, str]) -> Iterator[Provider]:
    """One Provider for each repository of ``containerd.io/distribution.source.HOST`` labels.

    A label is only a hint that anybody may have set: what does not parse is passed over, and what
    comes from there is verified by whoever keeps it.
    """
    for key, value in labels.items():
        if not key.startswith(SOURCE_LABEL):
            continue
        host = key.removeprefix(SOURCE_LABEL)
        for path in value.split(","):
            try:
                fetcher = resolver.fetcher(Reference(domain=host, path=path))
            except DistoreError:
                continue
            yield RemoteProvider(fetcher)


def repositories(labels: Mapping[str, str], registry: str) -> list[str]:
    """The repositories of ``registry`` that ``containerd.io/distribution.source`` labels name."""
    return [path for path in labels.get(SOURCE_LABEL + registry, "").split(",") if path]
