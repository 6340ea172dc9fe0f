"""Fetch: a remote object into a store, resuming; or as a verified stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from distore._internal.retry import Retrier
from distore.content.blobs import open_writer
from distore.content.store import MAX_LABEL_SIZE
from distore.errors import AlreadyExists, InvalidArgument, ResourceExhausted
from distore.oci.digest import Digest
from distore.oci.manifest import MAX_MANIFEST_SIZE
from distore.remotes.mismatch import wrong_digest, wrong_size
from distore.remotes.refkey import ref_key
from distore.remotes.source import Source, skip_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distore.content.blobs import FollowedIngester
    from distore.content.store import Status, Writer
    from distore.oci.reference import Reference
    from distore.remotes.resolver import Fetcher, Target

SOURCE_LABEL: Final = "containerd.io/distribution.source."


class Document(NamedTuple):
    """A small object, whole and verified."""

    digest: Digest
    media_type: str | None
    data: bytes


class Watch(NamedTuple):
    """Whom to tell what. ``note`` gets one line for people; ``progress`` the bytes kept and the
    size (None: unknown); ``follow`` the status of the same download run by another process.
    """

    note: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int | None], None] = lambda _kept, _size: None
    follow: Callable[[Status], None] | None = None


def fetch(
    store: FollowedIngester[Writer],
    fetcher: Fetcher,
    target: Target,
    *,
    ref: str | None = None,
    retrier: Retrier | None = None,
    watch: Watch = Watch(),  # noqa: B008 - immutable
    timeout: float | None = None,
) -> Digest:
    """Have the object in ``store``; kept bytes of an earlier try are not fetched again.

    When another process fetches it already, its download is followed. Whatever goes wrong, bytes
    that may be right are kept for the next try.

    Args:
        ref: Name of the ingest; None: ``ref_key`` of the object.
        timeout: Seconds to wait for another process, or None for as long as it takes.
    Returns:
        The digest, whether or not the blob was there before.
    Raises:
        NotFound, Unauthenticated, PermissionDenied, Unavailable, DeadlineExceeded: As Fetcher.
        DigestMismatch, SizeMismatch: The registry has other bytes than were promised.
        ResourceExhausted: What the tag names is larger than MAX_MANIFEST_SIZE.
        DiskFull, QuotaExceeded, ReadOnly, DataLoss: As Writer.
    """
    retrier = retrier or Retrier()
    document = None
    digest = target.digest
    if digest is None:
        document = fetch_document(fetcher, target, retrier=retrier)
        digest = document.digest
    try:
        with open_writer(
            store,
            ref or ref_key(target.media_type or (document and document.media_type), digest),
            total=len(document.data) if document else target.size,
            expected=digest,
            on_locked="follow",
            on_progress=watch.follow,
            timeout=timeout,
        ) as writer:
            if document:
                writer.truncate()
                writer.write(document.data)
            else:
                _fill(writer, fetcher, target, digest=digest, retrier=retrier, watch=watch)
            return writer.commit(size=target.size, expected=digest, labels=source_label(fetcher.repository))
    except AlreadyExists as error:
        return Digest(error.subject or digest)


def fetch_document(
    fetcher: Fetcher,
    target: Target,
    *,
    max_size: int = MAX_MANIFEST_SIZE,
    retrier: Retrier | None = None,
) -> Document:
    """A manifest or another small object, by tag or digest, in memory.

    The digest that a registry claims for a tag is verified, never trusted; without a claim it is
    computed.

    Raises:
        ResourceExhausted: It is larger than ``max_size`` bytes.
        DigestMismatch: Its bytes are not those of the digest asked for or claimed.
        NotFound, Unauthenticated, PermissionDenied, Unavailable, DeadlineExceeded: As Fetcher.
    """
    data = bytearray()
    with Source(fetcher, target, retrier=retrier or Retrier()) as source:
        stream = source.open()
        while True:
            position, piece = source.next()
            del data[position:]
            data += piece
            if len(data) > max_size:
                raise ResourceExhausted(f"{stream.source}: larger than {max_size} bytes")
            if not piece:
                break
        stream = source.last or stream
    expected = target.digest or stream.digest
    actual = Digest.of(data, algorithm=expected.algorithm if expected else "sha256")
    if expected is not None and expected != actual:
        raise wrong_digest(stream.source, expected=expected, actual=actual)
    if target.size is not None and target.size != len(data):
        raise wrong_size(stream.source, expected=target.size, actual=len(data))
    return Document(actual, stream.media_type, bytes(data))


def stream(fetcher: Fetcher, target: Target, *, retrier: Retrier | None = None) -> Iterator[bytes]:
    """The bytes of an object with a digest, as they come; they are verified when they end.

    What a tag names is small: ``fetch_document`` verifies it before anybody sees it.

    Raises:
        DigestMismatch, SizeMismatch: After the last byte: the bytes are not those of the digest.
        InvalidArgument: ``target`` has no digest.
        NotFound, Unauthenticated, PermissionDenied, Unavailable, DeadlineExceeded: As Fetcher.
    """
    if target.digest is None:
        raise InvalidArgument(f"object {target.name}: only a digest can be streamed")
    verifier = target.digest.verifier()
    size = 0
    with Source(fetcher, target, retrier=retrier or Retrier()) as source:
        name = f"{fetcher.repository.name}@{target.digest}"
        while piece := skip_to(size, source):
            verifier.update(piece)
            size += len(piece)
            yield piece
    if not verifier.verified():
        raise wrong_digest(name, expected=target.digest, actual=verifier.actual())
    if target.size is not None and size != target.size:
        raise wrong_size(name, expected=target.size, actual=size)


def source_label(repository: Reference) -> dict[str, str]:
    """The label that says where a blob came from; none when it would be too long."""
    key = SOURCE_LABEL + repository.domain
    return {key: repository.path} if len(key) + len(repository.path) <= MAX_LABEL_SIZE else {}


def _fill(
    writer: Writer, fetcher: Fetcher, target: Target, *, digest: Digest, retrier: Retrier, watch: Watch
) -> None:
    """Bring the writer to bytes with the right digest; the kept ones are given up once at most."""
    name = f"{fetcher.repository.name}@{digest}"
    if target.size is not None and writer.offset > target.size:
        watch.note(f"{name}: {writer.offset} bytes are kept, it has {target.size}; starting over")
        writer.truncate()
    for trial in (1, 2):
        resumed = _download(writer, fetcher, target, retrier, watch)
        actual = writer.digest()
        if actual == digest:
            return
        # None of these bytes can be told right from wrong.
        writer.truncate()
        if trial == 2 or not resumed:
            raise wrong_digest(name, expected=digest, actual=actual)
        watch.note(f"{name}: the kept bytes are damaged; starting over")


def _download(writer: Writer, fetcher: Fetcher, target: Target, retrier: Retrier, watch: Watch) -> bool:
    """Bring the writer to the end of the object; whether its bytes came over several connections."""
    name = f"{fetcher.repository.name}@{target.name}"
    started = writer.offset
    if started:
        of = "" if target.size is None else f" of {target.size}"
        watch.note(f"{name}: resuming at byte {started}{of}")
    with Source(fetcher, target, retrier=retrier, offset=started) as source:
        while True:
            position, data = source.next()
            if position < writer.offset:
                watch.note(f"{name}: the registry cannot resume; starting over")
                writer.truncate(position)
                started = position
            if not data:
                return bool(started) or source.connections > 1
            writer.write(data)
            watch.progress(writer.offset, source.size)
