"""Targets: what may be asked for in a repository."""

from __future__ import annotations

import pytest

from distore.errors import InvalidArgument
from distore.oci import mediatypes
from distore.oci.digest import Digest
from distore.remotes.resolver import Target

DIGEST = Digest.of(b"")


def test_a_word_with_a_colon_is_a_digest_and_any_other_a_tag() -> None:
    assert Target.parse(DIGEST).digest == DIGEST
    assert Target.parse("v1.2_3-x").tag == "v1.2_3-x"
    assert Target.parse(DIGEST).name == DIGEST


@pytest.mark.parametrize(
    "text",
    ["", ".hidden", "-x", "a b", "a/b", "ü", "x\n", "a" * 129, "../../etc", "sha256:12", "md5:" + "0" * 32],
)
def test_a_word_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Target.parse(text)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "media_type", ["", "json", "/", "a/", "/b", "a/b, c/d", "a/b\r\nx-evil: 1", "a/ü", "a/" + "b" * 300]
)
def test_a_media_type_that_could_break_a_header_is_refused(media_type: str) -> None:
    with pytest.raises(InvalidArgument, match="media type"):
        Target.parse("latest", media_type=media_type)


def test_parameters_of_a_media_type_are_part_of_it() -> None:
    assert Target.parse("latest", media_type="a/b;q=1").media_type == "a/b;q=1"
    assert Target.parse("latest", media_type=mediatypes.OCI_INDEX).media_type == mediatypes.OCI_INDEX


def test_a_size_is_not_negative() -> None:
    with pytest.raises(InvalidArgument, match="size -1 is negative"):
        Target.parse("latest", size=-1)


def test_a_target_is_a_digest_or_a_tag_and_not_both() -> None:
    with pytest.raises(InvalidArgument, match="not both"):
        Target(digest=DIGEST, tag="latest")
    with pytest.raises(InvalidArgument, match="want a digest or a tag"):
        Target()
