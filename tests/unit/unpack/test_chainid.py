"""ChainIDs."""

from __future__ import annotations

import hashlib

import pytest

from distore.errors import InvalidArgument
from distore.oci.digest import Digest
from distore.unpack.chainid import chain_id, chain_ids

A, B, C = (Digest.of(text) for text in (b"a", b"b", b"c"))


def test_the_lowest_layer_is_its_own_chain() -> None:
    assert chain_id([A]) == A


def test_each_layer_is_hashed_with_the_chain_below_it() -> None:
    two = f"sha256:{hashlib.sha256(f'{A} {B}'.encode()).hexdigest()}"
    three = f"sha256:{hashlib.sha256(f'{two} {C}'.encode()).hexdigest()}"

    assert chain_ids([A, B, C]) == (A, two, three)
    assert chain_id([A, B, C]) == three


def test_no_layers_have_no_chain() -> None:
    assert chain_ids([]) == ()
    with pytest.raises(InvalidArgument):
        chain_id([])
