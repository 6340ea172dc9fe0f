"""The contract with a registry, whatever protocol it speaks: Resolver, Fetcher, Stream, Pusher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from distore.errors import InvalidArgument
from distore.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distore._internal.retry import Retrier
    from distore.content.store import Provider
    from distore.oci.descriptor import Descriptor
    from distore.oci.reference import Reference

MAX_TAG_LENGTH: Final = 128  # characters (OCI distribution-spec, "Pulling manifests")
_TAG_FIRST: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_TAG_REST: Final = _TAG_FIRST | frozenset(".-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is wanted from a repository: a digest or a tag, and what is known about it.

    ``media_type`` is sent as Accept and decides where to look first; ``size`` in bytes. Both
    are None when unknown.

    Raises:
        InvalidArgument: Not exactly one of ``digest`` and ``tag``, a bad tag, a bad media type,
            or a negative size.
    """

    digest: Digest | None = None
    tag: str | None = None
    media_type: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if (self.digest is None) == (self.tag is None):
            raise InvalidArgument("object: want a digest or a tag, and not both")
        if self.tag is not None and not is_tag(self.tag):
            raise InvalidArgument(f"tag {self.tag[:60]!r}: want 1 to {MAX_TAG_LENGTH} of A-Z a-z 0-9 _ . -")
        if self.size is not None and self.size < 0:
            raise InvalidArgument(f"object {self.name}: size {self.size} is negative")
        if self.media_type is not None and not is_media_type(self.media_type):
            raise InvalidArgument(f"media type {self.media_type[:60]!r}: want type/subtype")

    @classmethod
    def parse(cls, text: str, *, media_type: str | None = None, size: int | None = None) -> Target:
        """A digest when there is a colon in ``text``, otherwise a tag."""
        if ":" in text:
            return cls(digest=Digest(text), media_type=media_type, size=size)
        return cls(tag=text, media_type=media_type, size=size)

    @property
    def name(self) -> str:
        """The digest or the tag."""
        return self.digest or self.tag or ""


class Stream(Protocol):
    """One transfer that has begun. Leaving the ``with`` block drops what was not read."""

    @property
    def offset(self) -> int:
        """Where in the object the first byte of the stream lies: the offset asked for, or 0 when
        the other side cannot begin there."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes in the whole object as the other side says, or None. Not verified."""
        ...

    @property
    def media_type(self) -> str | None:
        """What the other side calls it."""
        ...

    @property
    def digest(self) -> Digest | None:
        """What the other side says the digest is. Not verified."""
        ...

    @property
    def validator(self) -> str | None:
        """Hand it to the next ``open`` to go on in the same bytes, and in no others."""
        ...

    @property
    def source(self) -> str:
        """Host and object, for messages."""
        ...

    def read(self, limit: int, /) -> bytes:
        """Up to ``limit`` bytes as they arrive; ``b""`` only at the end of the object.

        Raises:
            Unavailable: Broken off, or too slow; what was read before is good.
            DeadlineExceeded: The time allowed ran out.
        """
        ...

    def close(self) -> None:
        """Release the connection; a second call does nothing."""
        ...

    def __enter__(self) -> Stream: ...
    def __exit__(self, *exc: object) -> None: ...


class Fetcher(Protocol):
    """Reads objects of one repository; safe to share between threads."""

    @property
    def repository(self) -> Reference:
        """Where it reads; only ``domain`` and ``path`` count."""
        ...

    def open(
        self, target: Target, /, *, offset: int = 0, end: int | None = None, validator: str | None = None
    ) -> Stream:
        """Begin a transfer, from ``offset`` when the other side can.

        Args:
            end: Where the wanted bytes end, exclusive; None: with the object. The other side may
                send more.
            validator: Of an earlier stream of the same object; when the object is another one
                by now, the stream begins at 0.
        Raises:
            NotFound: None of the places to ask has it.
            Unauthenticated, PermissionDenied: Refused.
            Unavailable: It may work later.
        """
        ...


class Pusher(Protocol):
    """Takes the objects of one image: a registry's repository, an image layout, an archive.

    Children go before their parents and the tagged root goes last. Safe to share between threads.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def parallel(self) -> int | None:
        """How many ``push`` calls it can use at once; None: as many as the caller likes."""
        ...

    def exists(self, descriptor: Descriptor, /) -> bool:
        """Whether it has the object, so that a push would be for nothing."""
        ...

    def push(
        self,
        descriptor: Descriptor,
        provider: Provider,
        /,
        *,
        sources: Sequence[str] = (),
        on_progress: Callable[[int], None] = lambda _offset: None,
    ) -> str:
        """Have the object; its bytes are verified while they travel.

        Args:
            sources: Repositories of the same registry (paths) that are likely to have the blob.
            on_progress: Told how many of its bytes have arrived so far.
        Returns:
            How: ``pushed``, ``mounted`` (another repository's) or ``present``.
        Raises:
            NotFound: ``provider`` lacks the object.
            DataLoss, DigestMismatch, SizeMismatch: Its bytes are not those of the descriptor.
            Unauthenticated, PermissionDenied: Refused.
            Unavailable: It may work later; what arrived may be kept for the next try.
        """
        ...

    def tag(self, descriptor: Descriptor, provider: Provider, /) -> None:
        """Give the root of the image its name, when there is one: the last step of a push."""
        ...


class Fetchers(Protocol):
    """Knows how to read from registries."""

    def fetcher(self, repository: Reference, /) -> Fetcher:
        """For the repository that ``repository`` names; nothing is sent yet.

        Raises:
            InvalidArgument: The configuration of that registry is wrong; names file and key.
        """
        ...


class Repository(Protocol):
    """What a registry tells of a repository, and what it can be told to forget."""

    def tags(self) -> Iterator[str]:
        """Every tag, in the registry's order, which is lexical by the specification.

        Raises:
            NotFound: No such repository.
        """
        ...

    def referrers(self, digest: Digest, *, artifact_type: str | None = None) -> Iterator[Descriptor]:
        """What refers to a manifest (none is no error), of one artifact type or of all."""
        ...

    def delete(self, target: Target) -> None:
        """Remove a tag, a manifest or a blob, whichever the registry finds under the name; with a
        media type only that kind.

        Raises:
            NotFound: There is none.
            Unimplemented: The registry deletes nothing.
        """
        ...


class Resolver(Fetchers, Protocol):
    """Knows how to reach registries."""

    def resolve(self, reference: Reference, /) -> Descriptor:
        """What a tag or digest stands for. A tag's media type, digest and size are as the registry
        tells them; a digest's bytes are verified when they are fetched.

        Raises:
            NotFound: None of the places to ask has it.
            FailedPrecondition: It is an image of schema 1, which nothing here reads.
            InvalidArgument: Neither a tag nor a digest is named.
        """
        ...

    def pusher(self, reference: Reference, /) -> Pusher:
        """For the repository that ``reference`` names; ``tag`` gives its tag, if it has one."""
        ...

    def repository(self, repository: Reference, /) -> Repository:
        """What else a registry tells of a repository."""
        ...

    def retrier(self, *, first_contact: bool = False) -> Retrier:
        """For one piece of work; ``abort`` ends its pauses with Cancelled.

        Args:
            first_contact: Nothing came from the registry so far: not to be waited for long when
                nobody answers.
        """
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait, but not beyond ``abort``.

        Raises:
            Cancelled: Somebody called it.
        """
        ...

    def abort(self) -> None:
        """Break off every transfer and pause: whoever reads gets Unavailable, whoever waits
        Cancelled, at once. The resolver can be used on."""
        ...


def is_tag(text: str) -> bool:
    """Whether a tag may be spelled like that."""
    return 0 < len(text) <= MAX_TAG_LENGTH and text[0] in _TAG_FIRST and _TAG_REST.issuperset(text)


def is_media_type(text: str) -> bool:
    """Whether ``text`` can go into an Accept header as one media type."""
    kind, slash, rest = text.partition("/")
    return (
        bool(kind and slash and rest) and len(text) <= 255 and all("!" < c <= "~" and c != "," for c in text)
    )
