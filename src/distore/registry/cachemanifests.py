"""CachedManifests: what a tag or digest of an upstream stands for, kept and looked after."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from distore.content.blobs import open_writer
from distore.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from distore.oci import mediatypes
from distore.oci.descriptor import Descriptor
from distore.oci.digest import Digest
from distore.registry.cacheblobs import LONGEST
from distore.registry.cachememo import Memo
from distore.registry.pushed import parse
from distore.remotes.fetch import fetch_document, source_label
from distore.remotes.refkey import ref_key
from distore.remotes.resolver import Target
from distore.repositories import ManifestRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from distore.oci.reference import Reference
    from distore.registry.cacheblobs import CachedBlobs, CacheStore
    from distore.registry.cacheflights import Flights
    from distore.registry.upstreams import Copy, Upstreams
    from distore.remotes.fetch import Document
    from distore.repositories import Repositories, Tag

_FRESH: Final = 50_000  # tags
_TYPES: Final = 50_000  # manifests that an index told the type of
_TOLD: Final = 3600.0  # seconds that this is remembered
# What of a stranger's is handed on by its own name: nothing that a browser shows as a page.
_JSON: Final = re.compile(r"application/(?:[A-Za-z0-9!#$&^_.+-]{1,100}[.+])?json")


class CachedManifests:
    """Safe to use from any thread.

    Args:
        asks: The threads that ask.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        content: CacheStore,
        repositories: Repositories,
        upstreams: Upstreams,
        blobs: CachedBlobs,
        *,
        asks: Flights,
        now: Callable[[], float],
    ) -> None:
        self._content = content
        self._repositories = repositories
        self._upstreams = upstreams
        self._blobs = blobs
        self._asks = asks
        self._now = now
        self._fresh: Memo[bool] = Memo(_FRESH, now=now)
        self._types: Memo[str] = Memo(_TYPES, now=now)

    def is_fresh(self, copy: Copy, tag: str) -> bool:
        """Whether the upstream need not be asked, as far as this process knows; waits for nothing."""
        return self._fresh.get((copy.repository, tag)) is True

    def check(self, copy: Copy, tag: Tag) -> bool:
        """``is_fresh``, as far as anybody knows; and whatever was pushed here is."""
        now, fresh = self._now(), copy.upstream.tags_fresh
        checked = now if tag.checked is None else tag.checked.timestamp()
        if tag.checked is not None and abs(now - checked) >= fresh:  # it may have been set back since
            return False
        self._fresh.put((copy.repository, tag.name), True, until=checked + fresh)
        return True

    def renew(self, copy: Copy, tag: str, *, seconds: float = LONGEST) -> None:
        """Have what the upstream says the tag stands for.

        Args:
            seconds: How long to wait; it goes on after that.
        Raises:
            NotFound: It has no such tag; then it is none here, either.
            Unauthenticated, PermissionDenied, Unavailable: It does not say.
            DistoreError: What it says is nonsense.
        """
        work = partial(self._renew, copy, tag)
        self._asks.wait(copy.lane, ("tag", copy.repository, tag), work, seconds=seconds)

    def bring(self, copy: Copy, digest: Digest) -> None:
        """Have a manifest; raises as ``renew``."""
        work = partial(self._bring, copy, digest)
        self._asks.wait(copy.lane, ("manifest", copy.repository, digest), work, seconds=LONGEST)

    def _renew(self, copy: Copy, name: str) -> None:
        known = self._repositories.tag(copy.repository, name)
        if known is not None and self.check(copy, known):
            return  # by another one since
        if known is None:
            resolver = self._upstreams.resolver(copy.upstream)
            retrier = resolver.retrier(first_contact=True)
            document = fetch_document(resolver.fetcher(copy.reference), Target(tag=name), retrier=retrier)
            self._keep(copy, document, tag=name)
        else:
            self._compare(copy, known)
        until = self._now() + copy.upstream.tags_fresh
        self._fresh.put((copy.repository, name), True, until=until)

    def _compare(self, copy: Copy, known: Tag) -> None:
        """Whether a tag is as it was; if not, what it names now."""
        try:
            told = self._told(replace(copy.reference, tag=known.name), copy)
        except NotFound:
            # Unless somebody has pushed it here meanwhile.
            self._repositories.retire(copy.repository, tags=(known,), before=self._now() + LONGEST)
            raise
        if told.digest == known.descriptor.digest:
            self._repositories.note_checked(copy.repository, known.name, self._now())
            return
        try:
            self._fetch(copy, told, tag=known.name)
        except NotFound as error:  # of what it has just named: that is no word about the tag
            raise Unavailable(str(error)) from error

    def _told(self, reference: Reference, copy: Copy) -> Descriptor:
        """What the upstream says, by HEAD."""
        resolver = self._upstreams.resolver(copy.upstream)
        retrier = resolver.retrier(first_contact=True)
        return retrier.run(lambda: resolver.resolve(reference))

    def _bring(self, copy: Copy, digest: Digest) -> None:
        media_type = self._types.get((copy.repository, digest))
        if media_type is not None:
            self._fetch(copy, Descriptor(media_type=media_type, digest=digest, size=0), has_size=False)
            return
        self._fetch(copy, self._told(replace(copy.reference, digest=digest), copy))

    def _fetch(self, copy: Copy, told: Descriptor, *, tag: str | None = None, has_size: bool = True) -> None:
        resolver = self._upstreams.resolver(copy.upstream)
        target = Target(digest=told.digest, media_type=told.media_type, size=told.size if has_size else None)
        retrier = resolver.retrier(first_contact=True)
        document = fetch_document(resolver.fetcher(copy.reference), target, retrier=retrier)
        self._keep(copy, document._replace(media_type=told.media_type), tag=tag)

    def _keep(self, copy: Copy, document: Document, *, tag: str | None = None) -> None:
        """Offer a manifest; its bytes were verified."""
        record = record_of(document, subject=copy.reference.name)
        self._remember(copy, document, record)  # first: who sees the manifest asks for its blobs
        with self._repositories.keeping(document.digest):
            self._write(copy, document, record.descriptor.media_type)
            self._repositories.put_manifest(
                copy.repository, record, tags=() if tag is None else (tag,), cached=True
            )

    def _write(self, copy: Copy, document: Document, media_type: str) -> None:
        digest, data = document.digest, document.data
        try:
            with open_writer(
                self._content,
                ref_key(media_type, digest),
                total=len(data),
                expected=digest,
                on_locked="follow",
                timeout=LONGEST,
            ) as writer:
                writer.truncate()
                writer.write(data)
                writer.commit(size=len(data), labels=source_label(copy.reference))
        except AlreadyExists:  # another repository's, or by another process
            return

    def _remember(self, copy: Copy, document: Document, record: ManifestRecord) -> None:
        """What the manifest tells of its children saves a question each."""
        self._blobs.expect(copy.repository, record.children)
        if not mediatypes.is_index(record.descriptor.media_type):
            return
        until = self._now() + _TOLD
        for child in parse(document.data, record.descriptor.media_type).children:
            if mediatypes.is_manifest(child.media_type) or mediatypes.is_index(child.media_type):
                self._types.put((copy.repository, child.digest), child.media_type, until=until)


def record_of(document: Document, *, subject: str) -> ManifestRecord:
    """What a repository remembers of a manifest that an upstream gave.

    Raises:
        FailedPrecondition: It is none.
    """
    name = f"{subject}@{document.digest}"
    try:
        content = json.loads(document.data)
    except (ValueError, RecursionError) as error:
        raise FailedPrecondition(f"{name}: the upstream's answer is no manifest") from error
    if not isinstance(content, dict):
        raise FailedPrecondition(f"{name}: the upstream's answer is no manifest")
    own, told = content.get("mediaType"), document.media_type or ""
    media_type = own if isinstance(own, str) else told
    if not (mediatypes.is_manifest(media_type) or mediatypes.is_index(media_type)):
        return _foreign(document, content, media_type, name)
    try:
        return parse(document.data, media_type).record(document.digest, len(document.data))
    except InvalidArgument as error:
        raise FailedPrecondition(f"{name}: {error}") from error


def _foreign(document: Document, content: dict[str, object], media_type: str, name: str) -> ManifestRecord:
    """Of a kind that is passed on, and not read: Docker's schema 1, or one from the future. Documents of
    OCI need not say what they are, and servers may call them anything."""
    guess = mediatypes.OCI_INDEX if "manifests" in content else mediatypes.OCI_MANIFEST
    try:
        return parse(document.data, guess).record(document.digest, len(document.data))
    except InvalidArgument:
        pass
    media_type = media_type.partition(";")[0].strip()
    is_document = mediatypes.is_schema1(media_type) or _JSON.fullmatch(media_type) is not None
    if "schemaVersion" not in content or not is_document:
        raise FailedPrecondition(f"{name}: the upstream's answer is no manifest")
    try:
        descriptor = Descriptor(media_type=media_type, digest=document.digest, size=len(document.data))
    except InvalidArgument as error:
        raise FailedPrecondition(f"{name}: {error}") from error
    return ManifestRecord(descriptor=descriptor)
