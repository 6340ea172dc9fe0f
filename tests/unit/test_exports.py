"""The public face is a golden list; everything else may change."""

from __future__ import annotations

from pathlib import Path

import pytest

import distore

GOLDEN = Path(__file__).parents[1] / "golden" / "exports.txt"


def test_the_public_names_are_those_of_the_golden_list() -> None:
    assert distore.__all__ == GOLDEN.read_text().split()


def test_every_public_name_is_there() -> None:
    for name in distore.__all__:
        assert getattr(distore, name).__name__ == name
        assert name in dir(distore)


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = distore.nonsense
