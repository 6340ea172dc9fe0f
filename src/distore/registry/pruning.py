"""Pruning: the rules of retention, carried out on every repository."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from distore.gc import batches
from distore.registry.retention import decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from distore.oci.digest import Digest
    from distore.registry.keepsettings import KeepSettings
    from distore.registry.retention import Verdicts
    from distore.repositories import ManifestRecord, Repositories, Tag

_SOON: Final = 3600.0  # seconds, longer than anything here takes
_AT_ONCE: Final = 200  # tags or manifests that go in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A tag, or (``tag`` is None) a manifest: whether it stays, why, and if not, whether it is gone.

    What was pushed, pulled or moved meanwhile does not go, whatever the verdict was.
    """

    repository: str
    tag: str | None
    digest: Digest
    size: int
    keep: bool
    reason: str
    gone: bool = False


def prune(
    repositories: Repositories,
    settings: KeepSettings,
    *,
    now: float,
    names: Iterable[str] | None = None,
    dry_run: bool = False,
) -> Iterator[Judged]:
    """What the rules say of each tag and manifest of ``names`` (None: of all repositories), once it is done.

    Safe beside pushes.

    Args:
        now: Seconds since the epoch.
        dry_run: Only say what would go.
    """
    moment = datetime.fromtimestamp(now, UTC)
    for name in list(repositories.names()) if names is None else names:
        if not dry_run and not _concerned(settings, name):
            continue
        tags, manifests = repositories.tags(name), repositories.manifests(name)
        verdicts = decide(name, tags, manifests, settings=settings, now=moment)
        gone: set[str] = set()
        if not dry_run:
            # Without a time of grace nothing is too recent to go.
            before = now - settings.grace if settings.grace else now + _SOON
            gone = _carry_out(repositories, verdicts, before=before)
        yield from _judged(verdicts, gone)


def _concerned(settings: KeepSettings, name: str) -> bool:
    """Whether anything could go there."""
    if settings.untagged is not None:
        return True
    return any(not rule.keeps_all and rule.repositories.match(name) for rule in settings.rules)


def _carry_out(repositories: Repositories, verdicts: Verdicts, *, before: float) -> set[str]:
    """Names of the tags, and digests of the manifests, that went."""
    gone: set[str] = set()
    hanging: dict[Digest, list[tuple[Digest, Tag]]] = {}  # by what the tag names
    for on, tag in verdicts.hanging:
        hanging.setdefault(tag.descriptor.digest, []).append((on, tag))

    def retire(tags: Sequence[Tag], manifests: Sequence[ManifestRecord] = ()) -> None:
        for went in repositories.retire(verdicts.repository, tags=tags, manifests=manifests, before=before):
            gone.update(went)

    waiting = {tag.name for pairs in hanging.values() for _, tag in pairs}
    for tags in batches((tag for tag in verdicts.going_tags if tag.name not in waiting), _AT_ONCE):
        retire(tags)
    some: list[ManifestRecord] = []
    for record in verdicts.going_manifests:
        pairs = hanging.pop(record.descriptor.digest, [])
        if pairs or len(some) == _AT_ONCE:
            retire((), some)
            some = []
        if pairs:  # a signature goes when its image did, and not by itself
            retire([tag for on, tag in pairs if on in gone])
        some.append(record)
    retire((), some)
    retire([tag for pairs in hanging.values() for on, tag in pairs if on in gone])
    return gone


def _judged(verdicts: Verdicts, gone: set[str]) -> Iterator[Judged]:
    items: list[tuple[str | None, Tag | ManifestRecord, bool, str]] = [
        *((tag.name, tag, verdict.keep, verdict.reason) for tag, verdict in verdicts.tags),
        *((None, record, verdict.keep, verdict.reason) for record, verdict in verdicts.manifests),
    ]
    for tag, item, keep, reason in items:
        descriptor = item.descriptor
        yield Judged(
            repository=verdicts.repository,
            tag=tag,
            digest=descriptor.digest,
            size=descriptor.size,
            keep=keep,
            reason=reason,
            gone=(descriptor.digest if tag is None else tag) in gone,
        )
