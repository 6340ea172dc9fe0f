"""Digest: the name of a blob, ``algorithm:hex`` (OCI image-spec, descriptor.md#digests)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from distore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import ReadableBuffer

# Length of the hex part. sha384 is not registered by image-spec but known to every Go client.
HEX_LENGTHS: Final[Mapping[str, int]] = {"sha256": 64, "sha384": 96, "sha512": 128}
DEFAULT_ALGORITHM: Final = "sha256"
_HEX: Final = frozenset("0123456789abcdef")
_SHOWN: Final = 80  # characters of a bad digest that a message repeats


class Hasher(Protocol):
    """What hashlib makes."""

    def update(self, data: ReadableBuffer, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Hasher: ...


class Digest(str):
    """A validated digest; a plain ``str`` to whoever only prints, compares or sorts it.

    Raises:
        InvalidArgument: Not ``algorithm:hex``, an unknown algorithm, or a wrong length.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        if type(text) is cls:
            return text
        algorithm, separator, encoded = text.partition(":")
        shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
        if not separator or not algorithm or not encoded:
            raise InvalidArgument(f"digest {shown}: want algorithm:hex, such as sha256:<64 hex characters>")
        length = HEX_LENGTHS.get(algorithm)
        if length is None:
            raise InvalidArgument(f"digest {shown}: unknown algorithm, want one of {', '.join(HEX_LENGTHS)}")
        if len(encoded) != length or not _HEX.issuperset(encoded):
            raise InvalidArgument(
                f"digest {shown}: want {length} lower-case hex characters after {algorithm}:"
            )
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        """The part before the colon, a key of HEX_LENGTHS."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The part after the colon, lower-case hex."""
        return self.partition(":")[2]

    @classmethod
    def of(cls, data: ReadableBuffer, *, algorithm: str = DEFAULT_ALGORITHM) -> Digest:
        """Digest of bytes already in memory."""
        hasher = new_hasher(algorithm)
        hasher.update(data)
        return cls.from_hasher(algorithm, hasher)

    @classmethod
    def from_hasher(cls, algorithm: str, hasher: Hasher) -> Digest:
        """Digest of what ``hasher`` has seen so far."""
        return cls(f"{algorithm}:{hasher.hexdigest()}")

    def verifier(self) -> Verifier:
        """A new Verifier for this digest."""
        return Verifier(self)


class Verifier:
    """Takes bytes in any number of pieces and tells whether they are those of ``digest``."""

    def __init__(self, digest: Digest) -> None:
        self.digest = digest
        self._hasher = new_hasher(digest.algorithm)

    def update(self, data: ReadableBuffer, /) -> None:
        """Take the next piece."""
        self._hasher.update(data)

    def actual(self) -> Digest:
        """Digest of the bytes so far."""
        return Digest.from_hasher(self.digest.algorithm, self._hasher)

    def verified(self) -> bool:
        """True when the bytes so far are exactly those that were promised."""
        return self.actual() == self.digest


def new_hasher(algorithm: str) -> Hasher:
    """An empty hasher that releases the GIL on large buffers.

    Raises:
        InvalidArgument: Not one of HEX_LENGTHS.
    """
    if algorithm not in HEX_LENGTHS:
        raise InvalidArgument(
            f"digest algorithm {algorithm[:_SHOWN]!r}: want one of {', '.join(HEX_LENGTHS)}"
        )
    import hashlib  # 4 ms of start-up that `dist list` and `dist active` do not need

    return hashlib.new(algorithm, usedforsecurity=False)
