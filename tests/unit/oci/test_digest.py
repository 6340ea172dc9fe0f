"""Digests: parsing, the verifier, and names that nobody should send."""

from __future__ import annotations

import hashlib
import time

import pytest

from distore.errors import InvalidArgument
from distore.oci.digest import HEX_LENGTHS, Digest, new_hasher

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("algorithm", sorted(HEX_LENGTHS))
def test_a_digest_is_its_algorithm_and_its_hex(algorithm: str) -> None:
    encoded = hashlib.new(algorithm, b"x").hexdigest()

    digest = Digest(f"{algorithm}:{encoded}")

    assert (digest.algorithm, digest.encoded) == (algorithm, encoded)
    assert digest == Digest.of(b"x", algorithm=algorithm) == f"{algorithm}:{encoded}"


def test_a_digest_is_a_plain_string_to_whoever_prints_sorts_or_keys_it() -> None:
    digest = Digest(EMPTY)

    assert f"{digest}" == "".join([digest]) == EMPTY
    assert {EMPTY: 1}[digest] == 1
    assert Digest(digest) is digest


def test_sha256_is_the_algorithm_when_none_is_named() -> None:
    assert Digest.of(b"") == EMPTY
    assert Digest.of(memoryview(bytearray())) == EMPTY


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "want algorithm:hex"),
        (":", "want algorithm:hex"),
        ("sha256", "want algorithm:hex"),
        ("sha256:", "want algorithm:hex"),
        (EMPTY.removeprefix("sha256"), "want algorithm:hex"),
        (EMPTY.removeprefix("sha256:"), "want algorithm:hex"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "unknown algorithm"),
        ("SHA256:" + "a" * 64, "unknown algorithm"),
        ("sha256+b64:" + "a" * 64, "unknown algorithm"),
        ("../sha256:" + "a" * 64, "unknown algorithm"),
        ("sha256:" + "A" * 64, "lower-case hex"),
        ("sha256:" + "g" * 64, "lower-case hex"),
        ("sha256:" + "a" * 63, "64 lower-case hex"),
        ("sha256:" + "a" * 65, "64 lower-case hex"),
        ("sha512:" + "a" * 64, "128 lower-case hex"),
        ("sha384:" + "a" * 64, "96 lower-case hex"),
        (EMPTY + "\n", "lower-case hex"),
        (" " + EMPTY, "unknown algorithm"),
        ("sha256:sha256:" + "a" * 57, "lower-case hex"),
        ("sha256:" + "\u0661" * 64, "lower-case hex"),
        ("sha256:" + "a/../../../../etc/passwd".ljust(64, "a"), "lower-case hex"),
        ("\x1b[31m:\0", "unknown algorithm"),
    ],
)
def test_what_is_no_digest_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        Digest(text)

    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    ["a" * 5_000_000, "sha256:" + "a" * 5_000_000, ":" * 5_000_000],
    ids=["no colon", "hex", "colons"],
)
def test_hostile_length_costs_no_time_and_makes_no_long_message(text: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidArgument) as caught:
        Digest(text)

    assert time.process_time() - started < 0.2
    assert len(str(caught.value)) < 300


def test_a_verifier_takes_bytes_in_pieces_and_tells_when_they_are_right() -> None:
    verifier = Digest.of(b"hello world").verifier()

    verifier.update(b"hello")
    halfway = verifier.verified(), verifier.actual()
    verifier.update(memoryview(b" world"))

    assert halfway == (False, Digest.of(b"hello"))
    assert verifier.verified()
    assert verifier.actual() == verifier.digest


def test_a_verifier_of_nothing_holds_before_the_first_byte() -> None:
    verifier = Digest(EMPTY).verifier()

    assert verifier.verified()
    verifier.update(b"x")
    assert not verifier.verified()


def test_a_hasher_of_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="md5"):
        new_hasher("md5")
