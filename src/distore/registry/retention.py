"""Retention: which tags and manifests of a repository stay, by the rules, and why; knows no database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from distore.errors import InvalidArgument
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from distore.registry.keepsettings import KeepRule, KeepSettings
    from distore.repositories import ManifestRecord, Tag

# Tags that hang on a digest: the referrers' tag of the specification ("Referrers Tag Schema"), and what
# clients make of it for signatures, attestations and bills of material.
_ATTACHED: Final = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64,128})(?:[.-][A-Za-z0-9._-]{1,40})?")
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """On one tag, or one manifest: whether it stays, and why."""

    keep: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """On everything that a repository has; tags and manifests in the order they were given."""

    repository: str
    tags: tuple[tuple[Tag, Verdict], ...]
    manifests: tuple[tuple[ManifestRecord, Verdict], ...]

    @property
    def going_tags(self) -> list[Tag]:
        """Tags that do not stay."""
        return [tag for tag, verdict in self.tags if not verdict.keep]

    @property
    def hanging(self) -> list[tuple[Digest, Tag]]:
        """Of these, the tags that hang on a manifest and go when it does."""
        there = {record.descriptor.digest for record, _ in self.manifests}
        found = ((attached_to(tag.name), tag) for tag in self.going_tags)
        return [(on, tag) for on, tag in found if on in there and on != tag.descriptor.digest]

    @property
    def going_manifests(self) -> list[ManifestRecord]:
        """Manifests that do not stay; one comes before what it names, and before what is about it."""
        going = {record.descriptor.digest: record for record, verdict in self.manifests if not verdict.keep}
        about: dict[Digest, list[Digest]] = {}
        for digest, record in going.items():
            if record.subject is not None:
                about.setdefault(record.subject, []).append(digest)
        for on, tag in self.hanging:
            about.setdefault(on, []).append(tag.descriptor.digest)
        return _parents_first(going, about)


def attached_to(tag: str) -> Digest | None:
    """The digest that a tag hangs on, if it is such a tag."""
    found = _ATTACHED.fullmatch(tag)
    if found is None:
        return None
    try:
        return Digest(f"{found[1]}:{found[2]}")
    except InvalidArgument:
        return None


def decide(
    repository: str,
    tags: Sequence[Tag],
    manifests: Sequence[ManifestRecord],
    *,
    settings: KeepSettings,
    now: datetime,
) -> Verdicts:
    """What stays of a repository.

    A tag that no rule is about stays. A manifest stays with a tag, an index or a subject that stays; one
    that only tags led to which go now goes, too; one that nothing led to before goes when it has been
    neither pushed nor got for ``settings.untagged``. What was of use within ``settings.grace`` stays for now.
    """
    return _Decision(repository, tags, manifests, settings, now).verdicts()


class _Decision:
    def __init__(
        self,
        repository: str,
        tags: Sequence[Tag],
        manifests: Sequence[ManifestRecord],
        settings: KeepSettings,
        now: datetime,
    ) -> None:
        self._repository = repository
        self._tags = tags
        self._manifests = {record.descriptor.digest: record for record in manifests}
        self._settings = settings
        self._now = now
        self._about: dict[Digest, list[Digest]] = {}  # subject -> manifests about it
        for digest, record in self._manifests.items():
            if record.subject is not None:
                self._about.setdefault(record.subject, []).append(digest)
        self._hanging: dict[Digest, list[Tag]] = {}  # digest -> tags that hang on it
        self._plain: list[Tag] = []
        for tag in tags:
            to = attached_to(tag.name)
            # An image may well have its own digest for a tag: that one is as any other.
            if to is not None and to in self._manifests and to != tag.descriptor.digest:
                self._hanging.setdefault(to, []).append(tag)
            else:
                self._plain.append(tag)
        self._recent = self._used_lately()

    def verdicts(self) -> Verdicts:
        told = self._rules()
        before = self._reached({tag.descriptor.digest: f"tag {tag.name}" for tag in self._plain})
        after = self._reached(
            {tag.descriptor.digest: f"tag {tag.name}" for tag in self._plain if told[tag.name].keep}
        )
        loose = self._loose(before)
        own = {digest: why for digest, (keep, why) in loose.items() if keep}
        stay = self._reached(own | self._recent, found=after)
        manifests = []
        for digest, record in self._manifests.items():
            keep, why = (True, stay[digest]) if digest in stay else (False, "no tag of it is left")
            if not keep and digest in loose:
                why = loose[digest][1]
            manifests.append((record, Verdict(keep=keep, reason=why)))
        for on, hanging in self._hanging.items():
            for tag in hanging:
                why = "belongs to" if on in stay else "goes with"
                told[tag.name] = Verdict(keep=on in stay, reason=f"{why} {_short(on)}")
        return Verdicts(
            repository=self._repository,
            tags=tuple((tag, told[tag.name]) for tag in self._tags),
            manifests=tuple(manifests),
        )

    def _used_lately(self) -> dict[Digest, str]:
        """What was of use within the time of grace, with what it belongs to: they go together."""
        grace = self._settings.grace or None  # without one nothing is too recent to go
        recent = {
            digest: f"pushed or asked for {_age(self._now, record.used)} ago"
            for digest, record in self._manifests.items()
            if self._within(grace, record.used)
        }
        hangs_on: dict[Digest, list[Digest]] = {}
        for on, tags in self._hanging.items():
            for tag in tags:
                hangs_on.setdefault(tag.descriptor.digest, []).append(on)
        ahead = list(recent)
        while ahead:
            digest = ahead.pop()
            record = self._manifests[digest]
            for to in (record.subject, *hangs_on.get(digest, ())):
                if to is not None and to in self._manifests and to not in recent:
                    recent[to] = recent[digest]
                    ahead.append(to)
        return recent

    def _rules(self) -> dict[str, Verdict]:
        """What the rules say of the tags that hang on nothing."""
        rules = [rule for rule in self._settings.rules if rule.repositories.match(self._repository)]
        told: dict[str, Verdict] = {}
        left = list(self._plain)
        for rule in rules:
            of_rule = [tag for tag in left if rule.tags.match(tag.name)]
            left = [tag for tag in left if not rule.tags.match(tag.name)]
            told |= self._by_rule(rule, of_rule)
        for tag in left:
            told[tag.name] = Verdict(keep=True, reason="no rule is about it")
        return told

    def _by_rule(self, rule: KeepRule, tags: list[Tag]) -> dict[str, Verdict]:
        newest: set[str] = set()
        if rule.newest is not None:
            ordered = sorted(tags, key=lambda tag: (tag.updated or _BEGINNING, tag.name), reverse=True)
            newest = {tag.name for tag in ordered[: rule.newest]}
        return {tag.name: self._of_tag(rule, tag, is_new=tag.name in newest) for tag in tags}

    def _of_tag(self, rule: KeepRule, tag: Tag, *, is_new: bool) -> Verdict:
        kept: list[str] = []
        if rule.keeps_all:
            kept.append(f"rule {rule.tags}")
        if tag.updated is None and not rule.keeps_all:
            kept.append("nobody knows when it was pushed")
        if is_new:
            kept.append(f"newest {rule.newest} of {rule.tags}")
        if tag.descriptor.digest in self._recent:
            kept.append(self._recent[tag.descriptor.digest])
        pushed, pulled = self._pushed(tag), self._pulled(tag)
        if self._within(rule.pushed_within, pushed):
            kept.append(f"pushed {_age(self._now, pushed)} ago")
        # A push counts as a pull: what came a moment ago has had no chance to be pulled.
        last = max((moment for moment in (pulled, pushed) if moment), default=None)
        if self._within(rule.pulled_within, last):
            kept.append(f"pulled or pushed {_age(self._now, last)} ago")
        if kept:
            return Verdict(keep=True, reason="; ".join(kept))
        missed = [f"not among the newest {rule.newest} of {rule.tags}"] if rule.newest is not None else []
        missed.append(f"pushed {_age(self._now, pushed)} ago")
        if rule.pulled_within is not None:
            missed.append(f"pulled {_age(self._now, pulled)} ago" if pulled else "never pulled")
        return Verdict(keep=False, reason="; ".join(missed))

    def _pushed(self, tag: Tag) -> datetime | None:
        """When somebody last pushed it: the same manifest again does not change the tag."""
        record = self._manifests.get(tag.descriptor.digest)
        moments = (tag.updated, record.pushed if record is not None else None)
        return max((moment for moment in moments if moment is not None), default=None)

    def _pulled(self, tag: Tag) -> datetime | None:
        """When somebody last got what it names: whoever knows a digest, or what an index lists for his
        platform, does not ask for the tag again."""
        moments, seen, ahead = [tag.pulled], {tag.descriptor.digest}, [tag.descriptor.digest]
        while ahead:
            record = self._manifests.get(ahead.pop())
            if record is not None:
                moments.append(record.pulled)
                new = {child for child, _ in record.children if child in self._manifests} - seen
                seen |= new
                ahead.extend(new)
        return max((moment for moment in moments if moment is not None), default=None)

    def _loose(self, before: Mapping[Digest, str]) -> dict[Digest, tuple[bool, str]]:
        """Manifests that nothing led to before: whether each stays for its own sake."""
        found: dict[Digest, tuple[bool, str]] = {}
        named = {child for record in self._manifests.values() for child, _ in record.children}
        for digest, record in self._manifests.items():
            if digest in before:
                continue
            limit = self._settings.untagged
            asked = digest in named and self._within(limit, record.pulled)  # by its digest, not by the index
            if (record.subject in self._manifests or digest in named) and not asked:
                found[digest] = (False, "what it belongs to goes")
                continue
            moments = [moment for moment in (record.pushed, record.pulled) if moment is not None]
            if limit is None:
                found[digest] = (True, "untagged, which stays for ever")
            elif not moments or self._within(limit, max(moments)):
                age = _age(self._now, max(moments, default=None))
                found[digest] = (True, f"untagged, pushed or pulled {age} ago")
            else:
                found[digest] = (False, f"untagged, pushed or pulled {_age(self._now, max(moments))} ago")
        return found

    def _reached(
        self, roots: Mapping[Digest, str], *, found: Mapping[Digest, str] | None = None
    ) -> dict[Digest, str]:
        """Manifests that are there, from ``roots`` on, with what leads to each; beside ``found``."""
        reached = dict(found or {})
        ahead = [(digest, why) for digest, why in roots.items() if digest in self._manifests]
        while ahead:
            digest, why = ahead.pop()
            if digest in reached:
                continue
            reached[digest] = why
            record = self._manifests[digest]
            after: Iterable[tuple[Digest, str]] = (
                *((child, f"part of {_short(digest)}") for child, _ in record.children),
                *((about, f"about {_short(digest)}") for about in self._about.get(digest, ())),
                *((tag.descriptor.digest, f"tag {tag.name}") for tag in self._hanging.get(digest, ())),
            )
            ahead.extend((one, reason) for one, reason in after if one in self._manifests)
        return reached

    def _within(self, limit: float | None, moment: datetime | None) -> bool:
        return (
            limit is not None
            and moment is not None
            and (self._now - moment) <= timedelta(seconds=min(limit, 1e11))
        )


def _parents_first(
    records: Mapping[Digest, ManifestRecord], about: Mapping[Digest, Sequence[Digest]]
) -> list[ManifestRecord]:
    """Depth first, without recursion: hostile indexes may nest as deep as they like."""
    done: set[Digest] = set()
    order: list[ManifestRecord] = []
    for start in records:
        ahead = [(start, False)]
        while ahead:
            digest, finished = ahead.pop()
            if finished:
                order.append(records[digest])
            elif digest not in done:
                done.add(digest)
                ahead.append((digest, True))
                after = (*about.get(digest, ()), *(child for child, _ in records[digest].children))
                ahead.extend((one, False) for one in after if one in records)
    return order[::-1]


def _short(digest: Digest) -> str:
    algorithm, _, text = digest.partition(":")
    return f"{algorithm}:{text[:12]}"


def _age(now: datetime, moment: datetime | None) -> str:
    """As ``3d``, ``5h``, ``10m`` or ``4s``."""
    if moment is None:
        return "an unknown time"
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
