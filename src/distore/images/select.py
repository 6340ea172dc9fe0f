"""Select: which of an index's manifests are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distore.errors import NotFound
from distore.images.children import attested, is_attestation
from distore.oci.platform import Only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distore.oci.descriptor import Descriptor
    from distore.oci.manifest import Index
    from distore.oci.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What of an index is wanted.

    Args:
        platforms: One manifest for each of them, the best that runs there; None: every manifest.
        attestations: With chosen platforms, also what the index says about those.
    """

    platforms: tuple[Platform, ...] | None = None
    attestations: bool = False

    def of(self, index: Index, *, subject: str) -> tuple[Descriptor, ...]:
        """The wanted children, in the order of the index.

        Raises:
            NotFound: A platform that nothing in the index runs on; names those that it has.
        """
        if self.platforms is None:
            return index.manifests
        chosen = {_best(index.manifests, platform, subject).digest for platform in self.platforms}
        if self.attestations:
            chosen |= {
                child.digest
                for child in index.manifests
                if is_attestation(child) and attested(child) in chosen
            }
        return tuple(child for child in index.manifests if child.digest in chosen)


ALL = Selection()


def platforms_of(manifests: Sequence[Descriptor]) -> list[str]:
    """The platforms that images of an index are for, each once, in their order."""
    names = [str(child.platform) for child in manifests if child.platform and not is_attestation(child)]
    return list(dict.fromkeys(names))


def _best(manifests: Sequence[Descriptor], platform: Platform, subject: str) -> Descriptor:
    wanted = Only(platform)
    ranked = [
        (rank, child)
        for child in manifests
        if child.platform is not None
        and not is_attestation(child)
        and (rank := wanted.rank(child.platform)) is not None
    ]
    if ranked:
        return min(ranked, key=lambda pair: pair[0])[1]
    lonely = [child for child in manifests if not is_attestation(child)]
    if len(lonely) == 1 and lonely[0].platform is None:
        return lonely[0]  # one image that does not say where it runs
    has = platforms_of(manifests)
    shown = ", ".join(has[:20]) or "none that it tells"
    raise NotFound(f"{subject}: has nothing for {platform}; it has {shown}")
