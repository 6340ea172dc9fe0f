"""Hypothesis strategies for what distore names and stores: digests, refs, labels, blobs, splits."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from distore.content.store import MAX_LABEL_SIZE, MAX_REF_LENGTH
from distore.oci.digest import HEX_LENGTHS, Digest

if TYPE_CHECKING:
    from collections.abc import Collection

_HEX: Final = "0123456789abcdef"
_NOT_PRINTED: Final = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")  # what str.isprintable refuses
# Spellings that file systems, shells, URLs and Unicode each have their own idea of.
_AWKWARD_REFS: Final = (
    ".",
    "..",
    "/",
    "a/b/../c",
    "-rf",
    " a ",
    "\u00fc",
    "u\u0308",
    "\U0001f4e6",
    "A",
    "a",
    "x" * MAX_REF_LENGTH,
    "\u00fc" * (MAX_REF_LENGTH // 2),
    "layer-sha256:" + "0" * 64,
)


def digests(algorithms: Collection[str] = tuple(HEX_LENGTHS)) -> st.SearchStrategy[Digest]:
    """Well-formed digests, of no bytes in particular."""

    def of(algorithm: str) -> st.SearchStrategy[Digest]:
        length = HEX_LENGTHS[algorithm]
        return st.text(_HEX, min_size=length, max_size=length).map(lambda hex: Digest(f"{algorithm}:{hex}"))

    return st.sampled_from(sorted(algorithms)).flatmap(of)


def refs() -> st.SearchStrategy[str]:
    """Names that an ingest may have."""
    characters = st.one_of(st.just(" "), st.characters(exclude_categories=_NOT_PRINTED))
    short = st.text(characters, min_size=1, max_size=20).filter(str.isprintable)
    return st.one_of(st.sampled_from(_AWKWARD_REFS), short)


def bad_refs() -> st.SearchStrategy[str]:
    """Names that every store refuses: empty, too long, with a control character, or not UTF-8."""
    control = st.characters(categories=["Cc", "Cs"])
    middle = st.tuples(st.text(max_size=5), control, st.text(max_size=5)).map("".join)
    return st.one_of(st.sampled_from(["", "x" * (MAX_REF_LENGTH + 1), "\u00fc" * MAX_REF_LENGTH]), middle)


def labels(*, max_size: int = 3) -> st.SearchStrategy[dict[str, str]]:
    """Up to ``max_size`` labels within the limit, with values that are not empty."""
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
    keys = st.one_of(st.sampled_from(["a", "a.b", "containerd.io/gc.root"]), text)
    values = st.one_of(st.sampled_from(["1", "x" * (MAX_LABEL_SIZE // 2)]), text)
    return st.dictionaries(keys, values, max_size=max_size)


def blobs(*, max_size: int = 300_000) -> st.SearchStrategy[bytes]:
    """Bytes of any length from 0 to ``max_size``: short ones at random, long ones a repeated pattern."""

    def repeated(pattern: bytes, size: int) -> bytes:
        return (pattern * (size // len(pattern) + 1))[:size]

    long = st.builds(repeated, st.binary(min_size=1, max_size=9), st.integers(0, max_size))
    return st.one_of(st.binary(max_size=min(64, max_size)), long)


@st.composite
def splits(draw: st.DrawFn, data: bytes, *, max_pieces: int = 8) -> list[tuple[int, bytes]]:
    """``data`` cut into up to ``max_pieces`` (offset, piece) pairs, in order.

    No piece is empty, unless ``data`` is.
    """
    inside = st.integers(1, max(1, len(data) - 1))
    cuts = (
        draw(st.lists(inside, max_size=min(max_pieces, len(data)) - 1, unique=True)) if len(data) > 1 else []
    )
    edges = [0, *sorted(cuts), len(data)]
    return [(start, data[start:end]) for start, end in pairwise(edges)]
