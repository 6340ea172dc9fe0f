"""Expected: the rows that a registry we know does not keep; tests hold it to exactly these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from distore.testing.registry_conformance.row import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

DIST_SERVE: Final[Mapping[str, Outcome]] = {
    "chunks-min-length": Outcome.ABSENT,  # any size will do
}
_DOCKER_FAILS: Final = (
    "blob-range-nonsense",
    "chunks-begin-with-0",
    "chunks-gap",
    "chunks-again",
    "chunks-last-out-of-order",
    "chunks-after-416",
    "chunks-length",
    "push-too-large",
    "content-nondistributable",
    "content-sha512",
    "tags-in-order",
    "tags-empty",
    "tags-n",
    "tags-n-large",
    "tags-n-0",
    "tags-last",
    "tags-last-alone",
    "tags-last-gone",
)
_DOCKER_LACKS: Final = (
    "upload-single-post",
    "chunks-min-length",
    "mount-from-anywhere",
    "push-with-tags",
    "subject",
    "content-sparse-index",
    "tags-link",
    "referrers-none",
    "referrers-type",
    "referrers-bad-digest",
    "referrers-listed",
    "referrers-config-type",
    "referrers-index",
    "referrers-of-nothing",
    "referrers-elsewhere",
    "referrers-deleted",
    "referrers-filtered",
    "referrers-filtered-out",
    "delete-tag",
    "delete-tag-alone",
    "delete-tag-unlists",
    "delete-tag-unknown",
)
# Of version 2.8.2 with deletion enabled, as Debian has it.
DOCKER_REGISTRY: Final[Mapping[str, Outcome]] = {
    **dict.fromkeys(_DOCKER_FAILS, Outcome.FAILED),
    **dict.fromkeys(_DOCKER_LACKS, Outcome.ABSENT),
}
