"""Digests: the verifier over every way to cut the bytes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distore.errors import InvalidArgument
from distore.oci.digest import HEX_LENGTHS, Digest

algorithms = st.sampled_from(sorted(HEX_LENGTHS))
pieces = st.lists(st.binary(max_size=200), max_size=8)


@settings(deadline=None)
@given(algorithm=algorithms, pieces=pieces)
def test_a_verifier_holds_however_the_bytes_are_cut(algorithm: str, pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    verifier = Digest(f"{algorithm}:{hashlib.new(algorithm, whole).hexdigest()}").verifier()
    seen = b""

    for piece in pieces:
        assert verifier.verified() is (seen == whole)
        verifier.update(piece)
        seen += piece
        assert verifier.actual() == Digest.of(seen, algorithm=algorithm)

    assert verifier.verified()


@settings(deadline=None)
@given(
    algorithm=algorithms, data=st.binary(min_size=1, max_size=200), at=st.integers(0), bit=st.integers(0, 7)
)
def test_a_verifier_sees_one_flipped_bit(algorithm: str, data: bytes, at: int, bit: int) -> None:
    damaged = bytearray(data)
    damaged[at % len(data)] ^= 1 << bit
    verifier = Digest.of(data, algorithm=algorithm).verifier()

    verifier.update(damaged)

    assert not verifier.verified()


@settings(deadline=None)
@given(algorithm=algorithms, data=st.binary(max_size=50))
def test_a_digest_parses_back_from_its_parts(algorithm: str, data: bytes) -> None:
    digest = Digest.of(data, algorithm=algorithm)

    assert Digest(str(digest)) == Digest(f"{digest.algorithm}:{digest.encoded}") == digest


@pytest.mark.slow
@settings(deadline=None)
@given(text=st.one_of(st.text(), st.text("sha25614:abcdef0\n"), st.from_regex(r"sha256:[0-9a-fA-F]{62,66}")))
def test_any_text_is_a_digest_or_is_refused_in_one_line(text: str) -> None:
    try:
        digest = Digest(text)
    except InvalidArgument as error:
        assert str(error).isprintable()
    else:
        assert digest == text
        assert len(digest.encoded) == HEX_LENGTHS[digest.algorithm]
